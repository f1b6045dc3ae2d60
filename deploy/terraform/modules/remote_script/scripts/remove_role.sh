# Takes a role away again. What was never installed, or is gone, is no error.
if [ -x /usr/local/lib/cachewarmer/remove ]; then
  /usr/local/lib/cachewarmer/remove "$ROLE"
fi
