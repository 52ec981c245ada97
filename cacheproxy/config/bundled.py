"""Copies of the files that configurations usually include, for systems that lack them.

An nginx.conf says ``include mime.types;`` or ``include uwsgi_params;`` and Debian's sites
say ``include proxy_params;``: files that come with nginx's package. Where the named file is
missing, these stand in for it (with a warning). Media types are those
registered with IANA for the extensions; the structure is nginx's.

Imports nothing of the project.
"""

from __future__ import annotations

__all__ = ["BUNDLED", "DEFAULT_TYPES", "MIME_TYPES"]

#: Without any ``types`` block (``ngx_http_core_default_types``).
DEFAULT_TYPES: dict[str, bytes] = {"html": b"text/html", "gif": b"image/gif", "jpg": b"image/jpeg"}

#: Media type to extensions.
MIME_TYPES: dict[str, str] = {
    "text/html": "html htm shtml",
    "text/css": "css",
    "text/xml": "xml",
    "text/plain": "txt log",
    "text/csv": "csv",
    "text/markdown": "md markdown",
    "text/calendar": "ics",
    "text/vcard": "vcf",
    "text/vtt": "vtt",
    "text/mathml": "mml",
    "text/tab-separated-values": "tsv",
    "image/gif": "gif",
    "image/jpeg": "jpeg jpg jpe",
    "image/png": "png",
    "image/apng": "apng",
    "image/avif": "avif",
    "image/webp": "webp",
    "image/heic": "heic",
    "image/heif": "heif",
    "image/jxl": "jxl",
    "image/svg+xml": "svg svgz",
    "image/tiff": "tif tiff",
    "image/bmp": "bmp",
    "image/x-icon": "ico cur",
    "audio/midi": "mid midi kar",
    "audio/mpeg": "mp3",
    "audio/mp4": "m4a",
    "audio/aac": "aac",
    "audio/ogg": "ogg oga",
    "audio/opus": "opus",
    "audio/flac": "flac",
    "audio/wav": "wav",
    "audio/webm": "weba",
    "video/3gpp": "3gp 3gpp",
    "video/mp2t": "ts",
    "video/mp4": "mp4 m4v",
    "video/mpeg": "mpeg mpg",
    "video/ogg": "ogv",
    "video/quicktime": "mov qt",
    "video/webm": "webm",
    "video/x-flv": "flv",
    "video/x-matroska": "mkv",
    "video/x-ms-asf": "asf asx",
    "video/x-ms-wmv": "wmv",
    "video/x-msvideo": "avi",
    "font/collection": "ttc",
    "font/otf": "otf",
    "font/ttf": "ttf",
    "font/woff": "woff",
    "font/woff2": "woff2",
    "application/vnd.ms-fontobject": "eot",
    "application/javascript": "js mjs",
    "application/json": "json map",
    "application/geo+json": "geojson",
    "application/ld+json": "jsonld",
    "application/manifest+json": "webmanifest",
    "application/atom+xml": "atom",
    "application/rss+xml": "rss",
    "application/rdf+xml": "rdf",
    "application/xhtml+xml": "xhtml",
    "application/xslt+xml": "xslt",
    "application/xspf+xml": "xspf",
    "application/wasm": "wasm",
    "application/pdf": "pdf",
    "application/postscript": "ps eps ai",
    "application/rtf": "rtf",
    "application/epub+zip": "epub",
    "application/java-archive": "jar war ear",
    "application/java-vm": "class",
    "application/mac-binhex40": "hqx",
    "application/msword": "doc",
    "application/vnd.ms-excel": "xls",
    "application/vnd.ms-powerpoint": "ppt",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
    "application/vnd.oasis.opendocument.text": "odt",
    "application/vnd.oasis.opendocument.spreadsheet": "ods",
    "application/vnd.oasis.opendocument.presentation": "odp",
    "application/vnd.oasis.opendocument.graphics": "odg",
    "application/vnd.google-earth.kml+xml": "kml",
    "application/vnd.google-earth.kmz": "kmz",
    "application/vnd.apple.mpegurl": "m3u8",
    "application/dash+xml": "mpd",
    "application/zip": "zip",
    "application/gzip": "gz tgz",
    "application/zstd": "zst",
    "application/x-7z-compressed": "7z",
    "application/x-bzip2": "bz2",
    "application/x-tar": "tar",
    "application/x-xz": "xz",
    "application/vnd.rar": "rar",
    "application/x-java-jnlp-file": "jnlp",
    "application/x-redhat-package-manager": "rpm",
    "application/x-shockwave-flash": "swf",
    "application/x-tcl": "tcl tk",
    "application/x-x509-ca-cert": "der pem crt",
    "application/x-xpinstall": "xpi",
    "application/octet-stream": "bin exe dll deb dmg iso img msi msp msm",
}


def _mime_types() -> str:
    lines = "".join(f"    {type_} {extensions};\n" for type_, extensions in MIME_TYPES.items())
    return f"types {{\n{lines}}}\n"


_PROXY_PARAMS = """\
proxy_set_header Host $http_host;
proxy_set_header X-Real-IP $remote_addr;
proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
proxy_set_header X-Forwarded-Proto $scheme;
"""

#: What CGI's heirs tell an application of a request (RFC 3875 §4.1), by its name there.
_VARIABLES: dict[str, str] = {
    "QUERY_STRING": "$query_string",
    "REQUEST_METHOD": "$request_method",
    "CONTENT_TYPE": "$content_type",
    "CONTENT_LENGTH": "$content_length",
    "REQUEST_URI": "$request_uri",
    "PATH_INFO": "$document_uri",
    "DOCUMENT_ROOT": "$document_root",
    "SERVER_PROTOCOL": "$server_protocol",
    "REQUEST_SCHEME": "$scheme",
    "HTTPS": "$https if_not_empty",
    "REMOTE_ADDR": "$remote_addr",
    "REMOTE_PORT": "$remote_port",
    "SERVER_PORT": "$server_port",
    "SERVER_NAME": "$server_name",
}


def _params(gateway: str) -> str:
    return "".join(f"{gateway}_param {name} {text};\n" for name, text in _VARIABLES.items())


#: Text by base name. Of FastCGI and SCGI the directives are accepted without effect.
BUNDLED: dict[str, str] = {
    "mime.types": _mime_types(),
    "proxy_params": _PROXY_PARAMS,
    "uwsgi_params": _params("uwsgi"),
    "fastcgi.conf": _params("fastcgi"),
    "fastcgi_params": _params("fastcgi"),
    "scgi_params": _params("scgi"),
}
