"""ONC RPC, MOUNT3 and NFS3 as bytes in and events out.

Nothing here knows a socket, a clock or a loop: a driver feeds bytes, sends the bytes it is given, and looks at events.
Whatever a server sends is taken as hostile: every length is checked before it is believed, and what breaks the rules
raises ``RemoteProtocolError``.
"""
