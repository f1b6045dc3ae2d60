"""ONC RPC, MOUNT3 and NFS3 as bytes in and events out.

Nothing here knows about sockets, clocks or event loops: a driver feeds bytes in, sends the bytes that it is given, and
handles the events. Whatever a server sends is treated as hostile: every length is checked before it is used, and
anything that violates the protocol raises ``RemoteProtocolError``.
"""
