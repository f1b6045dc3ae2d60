#!/bin/sh
# Takes away what the first CacheWarmer's bootstrap script of a role left on this machine: its unit, which may hold a
# password, its rsyslog rule and logrotate stanza, and the listener that it opened for all the network to log to.
#   first_generation.sh manager|worker     (install.sh and remove.sh run it)
set -eu

role=$1
root=${CACHEWARMER_ROOT:-} # another root directory, for the tests
log=cachewarmer-$role.log
rsyslog=

systemctl_here() {
  if [ -z "$root" ] && [ -d /run/systemd/system ]; then systemctl "$@"; fi
}

for directory in lib usr/lib; do # the same place where /lib is a link
  unit=$root/$directory/systemd/system/cachewarmer-$role.service
  [ -f "$unit" ] || continue
  # Ours lies in /etc and counts more; without one the service is the old one, and ends with its unit.
  if [ ! -f "$root/etc/systemd/system/cachewarmer-$role.service" ]; then
    systemctl_here disable --now --quiet "cachewarmer-$role.service" || true
  fi
  link=$root/etc/systemd/system/multi-user.target.wants/cachewarmer-$role.service
  case $(readlink -- "$link" || true) in
  /lib/* | /usr/lib/*) rm -f -- "$link" ;;
  esac
  rm -f -- "$unit"
  echo "cachewarmer: took away the first CacheWarmer's $unit"
done

for rule in "$root/etc/rsyslog.d/"[0-9][0-9]-"cachewarmer-$role.conf"; do
  [ -f "$rule" ] || continue
  rm -f -- "$rule"
  rsyslog=yes
  echo "cachewarmer: took away the first CacheWarmer's $rule"
done

# The stanza stands in rsyslog's own file: from the line that names the log to the brace that ends it.
stanzas=$root/etc/logrotate.d/rsyslog
if [ -f "$stanzas" ] && grep -q "^/var/log/${log}[[:space:]]*{*\$" "$stanzas"; then
  awk -v name="/var/log/$log" '
    !skipping && ($0 == name || index($0, name " ") == 1 || index($0, name "{") == 1) { skipping = 1 }
    !skipping { print }
    skipping && /^[[:space:]]*}/ { skipping = 0 }
  ' "$stanzas" >"$stanzas.new.$$"
  chmod 644 "$stanzas.new.$$"
  mv -f -- "$stanzas.new.$$" "$stanzas"
  echo "cachewarmer: took the first CacheWarmer's $log out of $stanzas"
fi

# The listener, when no rule of either role is left that it was opened for. Only its very lines: others may have their own.
main=$root/etc/rsyslog.conf
if [ -n "$rsyslog" ] && [ -f "$main" ]; then
  left=
  for rule in "$root/etc/rsyslog.d/"[0-9][0-9]-cachewarmer-*.conf; do if [ -f "$rule" ]; then left=yes; fi; done
  if [ -z "$left" ] && grep -q '^\(module(load="imtcp")\|input(type="imtcp" port="514")\)' "$main"; then
    sed 's/^\(module(load="imtcp")\|input(type="imtcp" port="514")\)/#&/' "$main" >"$main.new.$$"
    chmod 644 "$main.new.$$"
    mv -f -- "$main.new.$$" "$main"
    echo "cachewarmer: closed the listener on TCP port 514 that the first CacheWarmer opened in $main"
  fi
fi
if [ -n "$rsyslog" ]; then systemctl_here try-restart rsyslog.service || true; fi
