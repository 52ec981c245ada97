"""HTTP messages and their wire form: fields, framing, targets, codecs; no sockets."""
