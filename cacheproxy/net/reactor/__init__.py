"""A Twisted reactor whose stream connections are uvloop's own transports.

``reactor`` is the module to install; ``transport`` the connection; ``tcp`` and ``unix`` the
ports and connectors; ``interfaces`` what other code may declare without having uvloop.
"""
