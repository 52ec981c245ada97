"""One request from its head to its log record, apart from sockets and disks."""
