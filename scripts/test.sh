# shellcheck shell=bash
# `./lab test`: everything that has to hold before a change lands, fast to slow. A failed step does not keep the
# next ones from running. Sourced by ./lab.

# shellcheck source=scripts/generate.sh
. "$LAB_ROOT/scripts/generate.sh"
# shellcheck source=scripts/format.sh
. "$LAB_ROOT/scripts/format.sh"
# shellcheck source=scripts/nix-checks.sh
. "$LAB_ROOT/scripts/nix-checks.sh"
# shellcheck source=scripts/containers-test.sh
. "$LAB_ROOT/scripts/containers-test.sh"
# shellcheck source=scripts/package.sh
. "$LAB_ROOT/scripts/package.sh"
# shellcheck source=scripts/package-test.sh
. "$LAB_ROOT/scripts/package-test.sh"

failed=()

# step NAME COMMAND...
step() {
    local name=$1 began=$SECONDS
    shift
    printf '\n==> %s\n' "$name"
    # A subshell with its own -e: in a condition, bash would ignore -e inside the function.
    set +e
    (
        set -e
        cd "$LAB_ROOT"
        "$@"
    )
    local status=$?
    set -e
    if [ $status -eq 0 ]; then
        printf '==> %s: ok, %d s\n' "$name" $((SECONDS - began))
    else
        printf '==> %s: FAILED, %d s\n' "$name" $((SECONDS - began))
        failed+=("$name")
    fi
}

test_all() {
    local began=$SECONDS
    # The tests are about this project's lab.toml, whatever the lab at hand uses.
    unset HALAB_PROFILE HALAB_SUBNET HALAB_STATE LAB_RUNNER
    export HALAB_CONFIG=$LAB_ROOT/lab.toml

    setup_test_tools
    step "format" format_all --check
    step "shell scripts" shellcheck -x lab scripts/*.sh nix/packages/*/*.sh .ci/run machines/initrd-init machines/guest/lab-shell \
        packaging/debian/{config,postinst,prerm,postrm}
    step "process-compose.yaml has lab.toml's nodes" same_nodes
    step "generated files; units as systemd judges them; containers are hardened" generated_by_scripts --check
    step "Nix: files parse, and have nothing unused" nix_files_are_right
    step "Nix: logic and lock file" nix_logic_is_right
    step "Nix: what Prometheus asks is what halab makes of lab.toml" scraping_is_that_of_halab
    step "Nix: its images are configured as those of ./lab images" images_are_those_of_the_flake
    step "Nix: scripts of the VM tests" vm_scripts_are_right
    local cannot
    cannot=$(package_cannot)
    if [ -z "$cannot" ]; then
        step "the Debian package: lintian, installed, upgraded, removed, purged" package_lane
    else
        printf '\n==> the Debian package: left out: %s\n' "$cannot"
    fi
    step "dashboards keep the rules of Grafana's linter" scripts/dashboards-rules.py grafana/dashboards/*.json
    step "dashboards have no field that Grafana does not know" dashboards_have_known_fields
    step "deploy/kubernetes is known to Kubernetes' API" kubernetes_is_right
    step "documents: every link leads somewhere" scripts/links.py
    step "Prometheus: configuration, rules, their tests" prometheus_files_are_right
    step "clippy" cargo clippy --all-targets --locked --quiet -- -D warnings
    step "unit, model and CLI tests" all_but_live
    # They mostly wait: twice as many at a time as there are cores, and each takes the memory of a lab.
    local cores
    cores=$(nproc)
    step "live tests" env -u HALAB_CONFIG cargo test --locked --test live -- --test-threads $((cores < 4 ? 2 * cores : 8))
    step "a whole lab, run by halab up" whole_lab halab
    if find_process_compose >/dev/null; then
        step "a whole lab, run by process-compose" whole_lab process-compose
    else
        printf '\n==> a whole lab, run by process-compose: left out, it is not here\n'
    fi
    step "every query, rule and alert against a running lab" monitoring_is_real
    if have chromium; then
        step "the page of a drill in a browser" cargo test --locked --test page -- --ignored
    else
        printf '\n==> the page of a drill in a browser: left out, there is no chromium\n'
    fi
    step "every drill once" every_drill
    cannot=$(containers_cannot) || cannot="the attempt failed${cannot:+: $cannot}"
    if [ -z "$cannot" ]; then
        step "the lab as containers" containers_lane
    else
        printf '\n==> the lab as containers: left out: %s\n' "$cannot"
    fi
    step "README's commands" readme_commands
    step "the commands of docs/operations" operations_commands

    printf '\n%d s in all\n' $((SECONDS - began))
    if [ ${#failed[@]} -gt 0 ]; then
        printf 'failed: %s\n' "${failed[@]}" >&2
        exit 1
    fi
    say "all steps passed"
}

# A second server, for the tests of upgrades: Valkey 8, which reads the data of bookworm's Redis 7.0; on later releases that Redis, whose
# data theirs reads. Only its files; nothing is installed, and apt's own lists stay as they are.
setup_other_server() {
    local suite package program mirror scratch other=$LAB_TOOLS/other-server
    [ -z "${HALAB_OTHER_SERVER-}" ] && [ ! -x "$other" ] || return 0
    if grep -qx 'VERSION_CODENAME=bookworm' /etc/os-release; then
        suite=bookworm-backports package=valkey-tools program=valkey-check-rdb
    else
        suite=bookworm package=redis-tools program=redis-check-rdb
    fi
    { have apt-get && have dpkg-deb; } || die "a second server is missing, and this machine has no apt-get" \
        "name one of another version by HALAB_OTHER_SERVER, then run this again"
    mirror=$(debian_mirror) || exit
    say "fetching a second server: $package of $suite"
    scratch=$(mktemp -d)
    mkdir -p "$scratch/lists/partial" "$scratch/archives/partial"
    printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$mirror" "$suite" >"$scratch/sources.list"
    # Where it is not root's, apt can't give up its rights.
    chmod 755 "$scratch"
    (
        cd "$scratch"
        apt() {
            apt-get -qq -o APT::Sandbox::User=root -o Dir::State::Lists="$scratch/lists" -o Dir::Cache="$scratch" \
                -o Dir::Etc::SourceList="$scratch/sources.list" -o Dir::Etc::SourceParts=/dev/null "$@" >&2
        }
        apt update && apt download "$package" && dpkg-deb -x "$package"_*.deb .
    ) || die "a second server could not be fetched" \
        "apt's messages are above; or name one of another version by HALAB_OTHER_SERVER, then run this again"
    # It acts by the name it is called by.
    cp "$scratch/usr/bin/$program" "$other"
    rm -rf "$scratch"
    "$other" --version >/dev/null || die "the second server does not run here" \
        "name one of another version by HALAB_OTHER_SERVER, then run this again"
}

setup_test_tools() {
    # Ubuntu's package of that name is none.
    have chromium || ! grep -qx 'ID=debian' /etc/os-release ||
        (apt_install "a browser, to look at pages" chromium fonts-dejavu-core) || true
    have curl || apt_install "curl, to test how Grafana is fetched" curl
    setup_generators
    setup_format
    setup_nix_checks
    setup_other_server
    setup_package_test
    have shellcheck || apt_install "shellcheck" shellcheck
    if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
        have rustup || die "cargo has no rustfmt or clippy" "install them as you installed cargo"
        say "installing rustfmt and clippy with rustup"
        rustup component add rustfmt clippy || die "rustup could not install rustfmt and clippy"
    fi
}

# By Grafana's own types, from PyPI.
dashboards_have_known_fields() {
    pinned_python dashboards
    "$LAB_TOOLS/dashboards-venv/bin/python" scripts/dashboards-schema.py grafana/dashboards/*.json
}

# By the schemas of Kubernetes' API, from PyPI, and by the Prometheus operator's own, pinned in tools/operator.
kubernetes_is_right() {
    # The packages name more than is asked of them here; YAML is read by the machine's own.
    pinned_python kubernetes --no-deps
    local venv=$LAB_TOOLS/kubernetes-venv operator=github.com/prometheus-operator/prometheus-operator
    local against=(--schemas "$venv/lib")
    if have go; then
        against+=(--operator "$(cd tools/operator && go mod download -json $operator | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')")
    else
        say "there is no Go, which fetches the Prometheus operator's types: its objects are held to nothing"
    fi
    "$venv/bin/python" -B scripts/kubernetes.py --check "${against[@]}"
}

prometheus_files_are_right() {
    have promtool || die "promtool is not here" "install Debian's package prometheus (or promtool)"
    # Rule files are named relative to the configuration.
    promtool check config prometheus/prometheus.yml
    promtool check rules prometheus/rules/*.yml
    promtool test rules prometheus/tests/*.yml
}

all_but_live() {
    local file others=()
    for file in tests/*.rs; do
        [ "$file" = tests/live.rs ] || others+=(--test "$(basename "$file" .rs)")
    done
    env -u HALAB_CONFIG cargo test --locked --no-fail-fast --lib --bins "${others[@]}"
    env -u HALAB_CONFIG cargo test --locked --doc
}

# In a lab of the test itself, with a cgroup for each node; those are removed with the lab.
monitoring_is_real() {
    trap 'remove_empty_cgroups' EXIT
    env -u HALAB_CONFIG HALAB_CGROUP=true cargo test --locked --test monitoring -- --ignored --nocapture --skip the_lab_at_hand
}

# A lab of its own, in a scratch folder and in a /24 of its own, so that it runs beside any other.
own_lab() {
    scratch=$(mktemp -d)
    export LAB_DIR=$scratch
    export HALAB_SUBNET=127.$((RANDOM % 200 + 20)).$((RANDOM % 256))
    # Also after a failure: nothing may stay behind. Ctrl-C does not reach what runs in the background.
    # shellcheck disable=SC2046  # a word each
    trap 'kill $(jobs -pr) 2>/dev/null || true; wait; ./lab down; rm -rf "$scratch"' EXIT
    say "in $scratch, addresses $HALAB_SUBNET.0/24"
}

# whole_lab RUNNER
whole_lab() {
    own_lab
    export LAB_RUNNER=$1
    ./lab up
    ./lab up # again: says that it is up, and writes again
    ./lab status
    ./lab down
    ./lab down # again: says that it isn't running
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

# Every second one beside the others, each in a lab of its own: they mostly wait. At a rate that leaves the machine
# time for both.
every_drill() {
    own_lab
    local faults half=() other=() i beside
    # With a tenth of a processor for each node nothing may run beside it, and the short time limits are not meant for it.
    mapfile -t faults < <(halab drill --list | sed -n 's/^\([a-z][a-z-]*\).*/\1/p' | grep -vxE 'little-cpu|rolling-upgrade')
    [ ${#faults[@]} -gt 30 ] || die "halab drill --list names ${#faults[@]} faults"
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

# From the server of the lab to the second one, or the other way round.
upgrade_drill() {
    local second=${HALAB_OTHER_SERVER:-$LAB_TOOLS/other-server} status=0
    local drill=(halab drill rolling-upgrade --profile fast --rate 20000)
    "${drill[@]}" --to "$second" || status=$?
    # 2: that one can't read what this one writes.
    [ $status -eq 2 ] || return $status
    "${drill[@]}" --server "$second" --to "$LAB_TOOLS/redis-server"
}

readme_commands() {
    local commands
    commands=$(scripts/documented-commands.sh README.md)
    own_lab
    run_commands "$commands"
}

# The tasks of docs/operations, one page after the other on one running lab, in a folder of their own.
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
            say "left out: a single node is stopped and started by process-compose, which is not here"
            continue
        fi
        (cd "$scratch/work" && run_commands "$commands")
    done
}

# In a shell of their own. What they have started in the background ends with it, also after a failure.
run_commands() {
    bash -euo pipefail -c "trap '{ kill \$(jobs -pr); wait; } 2>/dev/null || true' EXIT; PS4='\$ '; set -x
$1"
}
