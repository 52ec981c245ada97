"""The examples are nginx's syntax, not ours: nginx itself accepts each of them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.certificates import make_certificate
from tests.support.ports import free_port
from tests.support.processes import NGINX, TOP, run_twistd

pytestmark = [
    pytest.mark.differential,
    pytest.mark.skipif(NGINX is None, reason="nginx is not on the PATH"),
]

EXAMPLES = sorted([*TOP.glob("examples/*.conf"), TOP / "examples/demo/site.conf"])


def localised(example: Path, folder: Path, *, for_nginx: bool = False) -> Path:
    """The example with its paths in *folder*, where everything that it names exists."""
    text = example.read_text()
    # nginx -t binds what it reads: ports that anybody may bind, and that are free.
    http, https, other = free_port(), free_port(), free_port()
    text = re.sub(r"listen (80\b|@HTTP_PORT@)", f"listen {http}", text)
    text = re.sub(r"listen (443\b|@HTTPS_PORT@)", f"listen {https}", text)
    text = re.sub(r"@\w+_PORT@", str(other), text)
    text = text.replace("@RUN@", str(folder)).replace("@STATIC@", str(folder))
    text = re.sub(r"(?<=[ :])/(?=(run|var|srv|etc)/)", f"{folder}/", text)
    # Of the edition of nginx that is not installed.
    if for_nginx:
        text = re.sub(r"proxy_cache_purge [^;]+;", "", text)
    (folder / "mime.types").write_text("types { text/html html; }\n")
    (folder / "uwsgi_params").write_text("uwsgi_param QUERY_STRING $query_string;\n")
    made = make_certificate(folder, "localhost")
    pairs = (("ssl_certificate", made.certificate), ("ssl_certificate_key", made.key))
    for directive, source in pairs:
        for path in re.findall(rf"{directive} (\S+);", text):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_bytes(source.read_bytes())
    for path in re.findall(rf"{folder}/[\w/.-]+", text):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    conf = folder / "site.conf"
    conf.write_text(text)
    return conf


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_nginx_accepts_the_example(example: Path, tmp_path: Path) -> None:
    """``nginx -t`` has no complaint, not even a warning about the file."""
    conf = localised(example, tmp_path, for_nginx=True)
    result = subprocess.run(
        [str(NGINX), "-t", "-p", str(tmp_path), "-c", str(conf), "-e", str(tmp_path / "log")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "test is successful" in result.stderr, result.stderr
    assert "[warn]" not in result.stderr, result.stderr


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_we_accept_the_example(example: Path, tmp_path: Path) -> None:
    """Our own check agrees."""
    conf = localised(example, tmp_path)
    result = run_twistd("cacheproxy", "--test", "--config", str(conf), cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    assert "test is successful" in result.stdout
