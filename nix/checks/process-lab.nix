# The lab of `nix run`, headless: it comes up, the primary's server is killed under load, and every
# acknowledged record is verified. Then a drill.
{
  runCommand,
  lab,
  procps,
}:
runCommand "process-lab"
  {
    nativeBuildInputs = [
      lab
      procps
    ];
  }
  ''
    export LAB_DIR=$TMPDIR/lab
    redis-ha-lab up --headless >process-compose.log 2>&1 &
    trap 'redis-ha-lab down || true; wait' EXIT
    if ! redis-ha-lab status --wait 60s; then
      tail -n 20 process-compose.log $LAB_DIR/log/*.log
      exit 1
    fi

    redis-ha-lab write --duration 10s --rate 2000 --ledger kill.ledger &
    writer=$!
    # The kill comes in the middle: after some records and before others.
    until [ "$(stat -c %s kill.ledger 2>/dev/null || echo 0)" -gt 1000 ]; do
      kill -0 $writer
      sleep 0.1
    done
    pkill -KILL -f 'redis-server 127.0.0.11:6379'
    wait $writer

    redis-ha-lab verify --ledger kill.ledger
    redis-ha-lab status --wait 60s | tee status
    grep -q 'primary redis-b at epoch 1, healthy' status

    # A drill, in a separate lab.
    redis-ha-lab --profile fast drill kill-primary
    touch $out
  ''
