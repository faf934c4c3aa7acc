# For /etc/profile.d, so that `halab` on a host uses the lab of the units, which have the same
# settings.
export HALAB_CONFIG=/etc/redis-ha-lab/lab.toml
export HALAB_SECRETS=/etc/redis-ha-lab/secrets
export HALAB_STATE=/var/lib/redis-ha-lab
export HALAB_START_COMMAND='systemctl start {unit}'
