"""The direct NFSv3 reader."""
