# shellcheck shell=bash
# `./lab test`: all tests of a change, from fast to slow. After a failed step the next ones still
# run. Sourced by ./lab.

# shellcheck source=scripts/generate.sh
. "$LAB_ROOT/scripts/generate.sh"
# shellcheck source=scripts/format.sh
. "$LAB_ROOT/scripts/format.sh"
# shellcheck source=scripts/examples.sh
. "$LAB_ROOT/scripts/examples.sh"
# shellcheck source=scripts/nix-checks.sh
. "$LAB_ROOT/scripts/nix-checks.sh"
# shellcheck source=scripts/containers-test.sh
. "$LAB_ROOT/scripts/containers-test.sh"
# shellcheck source=scripts/package.sh
. "$LAB_ROOT/scripts/package.sh"
# shellcheck source=scripts/package-test.sh
. "$LAB_ROOT/scripts/package-test.sh"

# The names of failed steps, and the files with their output.
failed=()
failed_logs=()
# Only steps with one of these texts in their name; all if there is none.
selected=()

test_usage() {
    cat <<EOF
./lab test [--list] [TEXT...]

Installs what the tests need, then runs every step; with TEXT only the steps that have one of the
texts in their name. After a failed step the next ones still run. The last lines of each failed step
are repeated at the end. --list prints the names of the steps. Exit code: 0 if all steps passed.

  ./lab test                  all steps, as CI runs them
  ./lab test format clippy    these two
  ./lab test "live tests"
EOF
}

cmd_test() {
    local list=no option
    for option; do
        case $option in
        -h | --help)
            test_usage
            return
            ;;
        --list) list=yes ;;
        -*) die "test: unknown option '$option'" "./lab test --help" ;;
        *) selected+=("$option") ;;
        esac
    done
    [ -n "$(step_names)" ] || die "test: no step has '${selected[*]}' in its name" "see ./lab test --list"
    if [ $list = yes ]; then
        step_names
        return
    fi
    # No test needs Grafana, which is large; a test covers its download without it.
    export LAB_GRAFANA=no
    # The tests use this project's lab.toml, whatever the caller's lab uses.
    unset HALAB_PROFILE HALAB_SUBNET HALAB_STATE LAB_RUNNER
    export HALAB_CONFIG=$LAB_ROOT/lab.toml
    # Steps write to a pipe.
    [ ! -t 1 ] || export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-always}
    setup
    setup_test_tools
    test_steps
    report_steps
}

step_names() (
    step() { ! is_selected "$1" || printf '%s\n' "$1"; }
    step_unless() { step "$2"; }
    test_steps
)

is_selected() {
    local text
    for text in "${selected[@]}"; do
        [[ $1 != *"$text"* ]] || return 0
    done
    [ ${#selected[@]} -eq 0 ]
}

# step NAME COMMAND...
step() {
    local name=$1 began=$SECONDS log output tee
    shift
    is_selected "$name" || return 0
    log=$(mktemp)
    printf '\n==> %s\n' "$name"
    exec {output}> >(exec tee "$log")
    tee=$!
    # A subshell with its own -e: bash ignores -e in a function called in a condition.
    set +e
    (
        set -e
        cd "$LAB_ROOT"
        "$@"
    ) >&$output 2>&1
    local status=$?
    exec {output}>&-
    # Not for ever: a process that the step has left may keep the pipe open.
    timeout 10 tail --pid=$tee -f /dev/null
    set -e
    if [ $status -eq 0 ]; then
        printf '==> %s: ok, %d s\n' "$name" $((SECONDS - began))
        rm "$log"
    else
        printf '==> %s: FAILED, %d s\n' "$name" $((SECONDS - began))
        failed+=("$name")
        failed_logs+=("$log")
    fi
}

# step_unless OBSTACLE NAME COMMAND...: the same, skipped if the command OBSTACLE prints a reason.
step_unless() {
    local obstacle=$1 reason
    shift
    is_selected "$1" || return 0
    reason=$($obstacle) || reason="the attempt failed${reason:+: $reason}"
    if [ -z "$reason" ]; then
        step "$@"
    else
        printf '\n==> %s: skipped: %s\n' "$1" "$reason"
    fi
}

report_steps() {
    local i
    printf '\n%d s in total\n' $SECONDS
    for i in "${!failed[@]}"; do
        printf '\n==> %s: the end of its output\n' "${failed[i]}"
        # A failed Rust test prints much after the reason.
        grep -a -A 3 ' panicked at ' "${failed_logs[i]}" | cut -c -300 | head -n 40 || true
        tail -n 40 "${failed_logs[i]}"
        rm "${failed_logs[i]}"
    done
    if [ ${#failed[@]} -gt 0 ]; then
        printf '\n'
        printf 'failed: %s\n' "${failed[@]}" >&2
        exit 1
    fi
    say "all steps passed"
}

test_steps() {
    step "format" format_all --check
    step "shell scripts" shellcheck -x lab scripts/*.sh nix/packages/*/*.sh .ci/run \
        machines/initrd-init machines/guest/lab-shell packaging/debian/{config,postinst,prerm,postrm}
    step "generated files are up to date, units and containers are hardened" \
        generated_by_scripts --check
    step "Nix: files parse and have nothing unused" check_nix_files
    step "Nix: logic and lock file" check_nix_logic
    step "Nix: image configuration is equal to that of ./lab images" check_nix_images
    step "Nix: scripts of the VM tests" check_vm_scripts
    step_unless package_step_obstacle \
        "the Debian package: lintian, installed, upgraded, removed, purged" test_package
    step "dashboards follow the rules of Grafana's linter" \
        scripts/dashboards-rules.py grafana/dashboards/*.json
    step "dashboards have no field unknown to Grafana" check_dashboard_fields
    step "deploy/kubernetes is valid for Kubernetes' API" check_kubernetes
    step "documents: no broken links" scripts/links.py
    step "Prometheus: configuration, rules, their tests" check_prometheus_files
    step "clippy" cargo clippy --all-targets --locked --quiet -- -D warnings
    step "unit, model and CLI tests" all_but_live
    step "live tests" live_tests
    step "a whole lab, run by halab up" whole_lab halab
    step_unless process_compose_obstacle "a whole lab, run by process-compose" \
        whole_lab process-compose
    step "the examples for applications, while the primary is killed" test_examples
    step "every query, rule and alert against a running lab" test_monitoring
    step_unless browser_obstacle "the page of a drill in a browser" \
        cargo test --locked --test page -- --ignored
    step_unless web_obstacle "the lab in a browser" test_web
    step "every drill once" every_drill
    step_unless containers_test_obstacle "the lab as containers" test_containers
    step "README's commands" readme_commands
    step "the commands of docs/operations" operations_commands
}

process_compose_obstacle() { find_process_compose >/dev/null || echo "it is not installed"; }

browser_obstacle() { have chromium || echo "chromium is not installed"; }

web_obstacle() {
    local missing
    missing=$(browser_obstacle)
    have node && have npm || missing="node or npm is not installed"
    echo "$missing"
}

# A person's way through the page of a lab, in Chromium. Screenshots stay in $LAB_SCREENSHOTS, if it
# is set.
test_web() {
    own_lab
    local tools=$scratch/browser link
    setup_browser_tools "$tools"
    HALAB_PROFILE=fast ./lab up --no-write
    link=$(./lab web)
    export HALAB_STATE=$LAB_DIR/state LAB_ACTION="bash $tools/lab.sh"
    CHROMIUM=$(command -v chromium) node "$tools/page.mjs" "$link" "${LAB_SCREENSHOTS:-$scratch/screenshots}"
}

# They mostly wait, so run two per core, at most 8: each needs the memory of a lab.
live_tests() {
    local cores
    cores=$(nproc)
    env -u HALAB_CONFIG cargo test --locked --test live -- \
        --test-threads $((cores < 4 ? 2 * cores : 8))
}

# A second server for the tests of upgrades. On bookworm it is Valkey 8, which reads the data of
# bookworm's Redis 7.0; on later releases it is that Redis, whose data their server reads. It is
# only unpacked: nothing is installed, and apt's own lists do not change.
setup_other_server() {
    local suite package program mirror scratch other=$LAB_TOOLS/other-server
    local remedy="set HALAB_OTHER_SERVER to a server of another version, then try again"
    [ -z "${HALAB_OTHER_SERVER-}" ] && [ ! -x "$other" ] || return 0
    if grep -qx 'VERSION_CODENAME=bookworm' /etc/os-release; then
        suite=bookworm-backports package=valkey-tools program=valkey-check-rdb
    else
        suite=bookworm package=redis-tools program=redis-check-rdb
    fi
    { have apt-get && have dpkg-deb; } ||
        die "a second server is missing, and this machine has no apt-get" "$remedy"
    mirror=$(debian_mirror) || exit
    say "fetching a second server: $package of $suite"
    scratch=$(mktemp -d)
    mkdir -p "$scratch/lists/partial" "$scratch/archives/partial"
    printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' \
        "$mirror" "$suite" >"$scratch/sources.list"
    # In a folder that is not root's, apt cannot switch to its own user.
    chmod 755 "$scratch"
    (
        cd "$scratch"
        apt() {
            apt-get -qq -o APT::Sandbox::User=root -o Dir::State::Lists="$scratch/lists" \
                -o Dir::Cache="$scratch" -o Dir::Etc::SourceList="$scratch/sources.list" \
                -o Dir::Etc::SourceParts=/dev/null "$@" >&2
        }
        apt update && apt download "$package" && dpkg-deb -x "$package"_*.deb .
    ) || die "cannot fetch a second server" "see apt's messages above, or $remedy"
    # The program is a server if it is called by such a name.
    cp "$scratch/usr/bin/$program" "$other"
    rm -rf "$scratch"
    "$other" --version >/dev/null || die "the second server does not run on this machine" "$remedy"
}

setup_test_tools() {
    # Ubuntu has no deb of that name.
    have chromium || ! grep -qx 'ID=debian' /etc/os-release ||
        (apt_install "a browser, for tests of HTML pages" chromium fonts-dejavu-core) || true
    { have node && have npm; } || ! grep -qx 'ID=debian' /etc/os-release ||
        (apt_install "Node.js, for tests of the page of a lab" nodejs npm) || true
    have curl || apt_install "curl, for the test of Grafana's download" curl
    setup_generators
    setup_format
    setup_nix_checks
    setup_other_server
    setup_package_test
    have shellcheck || apt_install "shellcheck" shellcheck
    if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
        have rustup || die "cargo has no rustfmt or clippy" "install them the way you installed cargo"
        say "installing rustfmt and clippy with rustup"
        rustup component add rustfmt clippy || die "rustup could not install rustfmt and clippy"
    fi
}

# Uses Grafana's own types, from PyPI.
check_dashboard_fields() {
    pinned_python dashboards
    "$LAB_TOOLS/dashboards-venv/bin/python" scripts/dashboards-schema.py grafana/dashboards/*.json
}

# Uses the schemas of Kubernetes' API, from PyPI, and those of the Prometheus operator, pinned in
# tools/operator.
check_kubernetes() {
    # Dependencies that are not used here are left out; PyYAML is the machine's own.
    pinned_python kubernetes --no-deps
    local venv=$LAB_TOOLS/kubernetes-venv operator=github.com/prometheus-operator/prometheus-operator
    local against=(--schemas "$venv/lib")
    if have go; then
        against+=(--operator "$(cd tools/operator && go mod download -json $operator |
            sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')")
    else
        say "Go is missing, which fetches the Prometheus operator's types: its objects are not checked"
    fi
    "$venv/bin/python" -B scripts/kubernetes.py --check "${against[@]}"
}

check_prometheus_files() {
    have promtool || die "promtool is missing" "install Debian's package prometheus (or promtool)"
    # Rule files are named relative to the configuration.
    promtool check config prometheus/prometheus.yml
    promtool check rules prometheus/rules/*.yml
    promtool test rules prometheus/tests/*.yml
}

all_but_live() {
    local target others=()
    for target in tests/*.rs tests/*/main.rs; do
        target=$(basename "${target%/main.rs}" .rs)
        [ "$target" = live ] || others+=(--test "$target")
    done
    env -u HALAB_CONFIG cargo test --locked --no-fail-fast --lib --bins "${others[@]}"
    env -u HALAB_CONFIG cargo test --locked --doc
}

# Runs in a separate lab with a cgroup for each node.
test_monitoring() {
    trap 'remove_empty_cgroups' EXIT
    env -u HALAB_CONFIG HALAB_CGROUP=true cargo test --locked --test monitoring -- \
        --ignored --nocapture --skip the_lab_at_hand
}

# Settings of a separate lab, in a scratch folder and in its own /24, so that it can run beside
# others.
own_lab() {
    scratch=$(mktemp -d)
    export LAB_DIR=$scratch
    export HALAB_SUBNET=127.$((RANDOM % 200 + 20)).$((RANDOM % 256))
    # Clean up after a failure too. Ctrl-C does not reach background jobs.
    # shellcheck disable=SC2046  # one word per PID
    trap 'kill $(jobs -pr) 2>/dev/null || true; wait; ./lab down; rm -rf "$scratch"' EXIT
    say "in $scratch, addresses $HALAB_SUBNET.0/24"
}

# whole_lab RUNNER
whole_lab() {
    own_lab
    export LAB_RUNNER=$1
    ./lab up
    ./lab up # again: reports that it is up, and writes again
    ./lab status
    ./lab down
    ./lab down # again: reports that it is not running
    ./lab up --no-write # with its data
    local ledger
    for ledger in "$LAB_DIR"/ledger/*; do
        ./lab verify --ledger "$ledger"
    done
    if ./lab clean; then die "./lab clean did not refuse while the lab runs"; fi
    ./lab down
    ./lab clean
    [ ! -e "$LAB_DIR" ]
}

# Two drills at a time, each in its own lab, as they mostly wait; at a rate that is low enough for
# both.
every_drill() {
    own_lab
    local faults half=() other=() i beside
    # little-cpu gives each node a tenth of a processor: it must run alone and with longer limits.
    mapfile -t faults < <(halab drill --list | sed -n 's/^\([a-z][a-z-]*\).*/\1/p' |
        grep -vxE 'little-cpu|rolling-upgrade')
    [ ${#faults[@]} -gt 30 ] || die "halab drill --list names only ${#faults[@]} faults"
    for i in "${!faults[@]}"; do
        if [ $((i % 2)) -eq 0 ]; then half+=("${faults[i]}"); else other+=("${faults[i]}"); fi
    done
    halab drill "${half[@]}" --profile fast --rate 20000 >"$scratch/beside.log" 2>&1 &
    beside=$!
    local status=0
    halab drill "${other[@]}" --profile fast --rate 20000 || status=$?
    wait $beside || status=$?
    cat "$scratch/beside.log"
    halab drill little-cpu --rate 5000 || status=$?
    upgrade_drill || status=$?
    return $status
}

# Upgrades from the lab's server to the second one, or the other way round.
upgrade_drill() {
    local second=${HALAB_OTHER_SERVER:-$LAB_TOOLS/other-server} status=0
    local drill=(halab drill rolling-upgrade --profile fast --rate 20000)
    "${drill[@]}" --to "$second" || status=$?
    # 2: the second server cannot read the data of the first.
    [ $status -eq 2 ] || return $status
    "${drill[@]}" --server "$second" --to "$LAB_TOOLS/redis-server"
}

readme_commands() {
    local commands
    commands=$(scripts/documented-commands.sh README.md)
    own_lab
    run_commands "$commands"
}

# The tasks of docs/operations, page by page on one running lab, in their own folder.
operations_commands() {
    local page commands
    own_lab
    mkdir "$scratch/work"
    ln -s "$LAB_ROOT/lab" "$scratch/work/lab"
    export HALAB_STATE=$LAB_DIR/state
    ./lab up --no-write
    for page in docs/operations/*.md; do
        say "$page"
        commands=$(scripts/documented-commands.sh "$page")
        if [ "${page##*/}" = upgrade.md ] && ! find_process_compose >/dev/null; then
            say "skipped: it needs process-compose to stop and start single nodes"
            continue
        fi
        (cd "$scratch/work" && run_commands "$commands")
    done
}

# run_commands TEXT: runs commands in a separate shell, which ends their background jobs, also after
# a failure.
run_commands() {
    bash -euo pipefail -c "trap '{ kill \$(jobs -pr); wait; } 2>/dev/null || true' EXIT; PS4='\$ '; set -x
$1"
}
