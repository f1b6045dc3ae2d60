"""The direct NFSv3 reader: sessions without a kernel mount."""
