"""The disk tier of a zone: body files and their index, as blocking calls."""
