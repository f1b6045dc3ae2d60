#!/bin/sh
# Makes a VM of this image the ${role}: runs at each start, and changes nothing that is as it should be.
set -eu
umask 077

metadata() { curl -fsS --retry 10 --retry-connrefused -H Metadata-Flavor:Google "http://metadata.google.internal/computeMetadata/v1/$1"; }
field() { python3 -c 'import json, sys; value = json.load(sys.stdin)
for name in sys.argv[1:]: value = value[name]
print(value)' "$@"; }
token=$(metadata instance/service-accounts/default/token | field access_token)
google() { curl -fsS --retry 10 --retry-all-errors -H "Authorization: Bearer $token" "$@"; }

folder=/var/lib/cachewarmer-bootstrap
mkdir -p "$folder/systemd" "$folder/logging"
cat >"$folder/SHA256SUMS" <<'END'
${sums}END
if ! (cd "$folder" && sha256sum --check --quiet --strict SHA256SUMS) >/dev/null 2>&1; then
  while read -r _ name; do
    object=$(printf '%s' "$name" | sed 's|/|%2F|g; s|@|%40|g')
    google -o "$folder/$name" "https://storage.googleapis.com/storage/v1/b/${bucket}/o/$object?alt=media"
  done <"$folder/SHA256SUMS"
fi

# install.sh keeps the URL where only root can read it.
CACHEWARMER_BROKER=$(google "https://secretmanager.googleapis.com/v1/${secret}:access" | field payload data | base64 --decode)
export CACHEWARMER_BROKER
sh "$folder/install.sh" ${role}

%{ if role == "manager" ~}
cat >/usr/local/bin/cachewarmer-with-broker <<'END'
#!/bin/sh
# Any command of cachewarmer with the broker of this machine, for root.
set -a
. /etc/cachewarmer/manager.secret.env
exec /usr/local/bin/cachewarmer "$@"
END
cat >/usr/local/lib/cachewarmer/files_left.py <<'END'
${gauge}END
chmod 755 /usr/local/bin/cachewarmer-with-broker
cat >/etc/systemd/system/cachewarmer-files-left.service <<'END'
[Unit]
Description=Tells Cloud Monitoring how many files are left to warm
After=cachewarmer-manager.service

[Service]
ExecStart=/usr/bin/python3 /usr/local/lib/cachewarmer/files_left.py ${project} ${metric}
Restart=always
RestartSec=20

[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload
systemctl enable --quiet --now cachewarmer-files-left.service

submitted=/var/lib/cachewarmer-bootstrap/submitted
touch "$submitted"
%{ for target in targets ~}
grep -qxF '${target}' "$submitted" || { cachewarmer-with-broker submit '${target}' && echo '${target}' >>"$submitted"; }
%{ endfor ~}
%{ endif ~}
