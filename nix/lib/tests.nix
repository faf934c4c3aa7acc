# Tests of the flake's own logic, without nixpkgs, and of the lock file. scripts/nix-checks.sh runs
# `nix-instantiate --eval --strict --json nix/lib/tests.nix`, which prints the claims that fail.
let
  topologyOf = text: import ./topology.nix (builtins.fromTOML text);
  shipped = topologyOf (builtins.readFile ../../lab.toml);
  discover = import ./discover.nix;

  unitsOf =
    given:
    import ./units.nix (
      {
        program = "/p/halab";
        config = "/c";
        secrets = "/s";
      }
      // given
    );
  hardening = import ./hardening.nix;
  shippedUnits = import ./units-shipped.nix;
  # Every service, by its name in units.nix.
  services =
    let
      units = unitsOf { };
    in
    removeAttrs units [
      "names"
      "sentinelsTarget"
      "used"
    ]
    // {
      writer = units.writer { flags = [ ]; };
      proxy = units.proxy { flags = [ ]; };
      web = units.web { flags = [ ]; };
    };
  only =
    wanted:
    removeAttrs services (
      builtins.filter (name: !wanted services.${name}) (builtins.attrNames services)
    );

  flake = import ../../flake.nix;
  lock = builtins.fromJSON (builtins.readFile ../../flake.lock);
  locked = name: lock.nodes.${lock.nodes.root.inputs.${name}};
  # github:OWNER/REPO/REF, the only form of inputs in use.
  parts = url: builtins.match "github:([^/]+)/([^/]+)/([^/]+)" url;
  named = name: parts flake.inputs.${name}.url;
  originally =
    name:
    let
      inherit (locked name) original;
    in
    [
      original.owner
      original.repo
      original.ref
    ];
  inputs = builtins.attrNames flake.inputs;
  lines = text: builtins.length (builtins.filter builtins.isString (builtins.split "\n" text)) - 1;

  # The names of the flake's outputs on Linux; their values are not evaluated.
  names = folder: builtins.attrNames (discover folder);
  outputs = {
    apps = builtins.attrNames (
      import ../apps.nix {
        lib.optionalAttrs = wanted: set: if wanted then set else { };
        onLinux = true;
        writeShellApplication = null;
        halab = null;
        lab = null;
        packages = null;
        self = null;
        system = null;
      }
    );
    packages = names ../packages ++ [
      "images"
      "load-images"
    ];
    images = names ../images;
    checks = names ../checks ++ map (name: "vm-${name}") (names ../tests);
  };
  # The text of all Rust files of a folder.
  rustOf =
    folder:
    let
      entries = builtins.readDir folder;
      textOf =
        entry:
        if entries.${entry} == "directory" then
          rustOf (folder + "/${entry}")
        else if builtins.match ".*\\.rs" entry != null then
          builtins.readFile (folder + "/${entry}")
        else
          "";
    in
    builtins.concatStringsSep "\n" (map textOf (builtins.attrNames entries));
  program = rustOf ../../src;
  # Files outside of src/ that are compiled in, and documents that unit tests read.
  outside =
    matches "include_str!\\(\"[./]*/([^\"]*)\"" program
    ++ map (name: "docs/${name}.md") (matches "docs/([a-z-]+)\\.md\"\\)" program);
  isAmong =
    files: path:
    builtins.elem path files || builtins.elem (builtins.head (builtins.split "/" path)) files;

  documented = builtins.readFile ../../docs/nix.md;
  # All matches of the only group of `pattern` in a text.
  matches =
    pattern: text: map builtins.head (builtins.filter builtins.isList (builtins.split pattern text));
  has = text: part: builtins.length (builtins.split part text) > 1;
  # The names in the second column of the row whose first column begins with `first`.
  rowOf =
    first: matches "`([a-z-]+)`" (builtins.head (matches "\\| `${first}[^|]*\\|([^|]*)\\|" documented));
  subset = some: all: builtins.all (name: builtins.elem name all) some;
  appsRun = matches "nix run \\.#([a-z-]+)";

  claims = {
    "the program's sources include all files that it reads outside of src/" =
      builtins.length outside > 10 && builtins.all (isAmong (import ./program-files.nix)) outside;
    "docs/nix.md has the command of every app" = subset outputs.apps (
      [ "default" ] ++ appsRun documented
    );
    "docs/nix.md runs only existing apps" = subset (appsRun documented) (outputs.apps ++ [ "checks" ]);
    "README.md runs only existing apps" =
      appsRun (builtins.readFile ../../README.md) != [ ]
      && subset (appsRun (builtins.readFile ../../README.md)) outputs.apps;
    "docs/nix.md names every package, image and check" =
      builtins.all (name: has documented "(`|nix build \\.#)${name}`") outputs.packages
      && builtins.all (name: has documented "`redis-ha-lab-${name}`") outputs.images
      && subset outputs.images (rowOf "nix build \\.#image-NAME`")
      && subset outputs.checks (rowOf "nix build \\.#checks");
    "docs/nix.md names only existing images and checks" =
      subset (rowOf "nix build \\.#image-NAME`") outputs.images
      && subset (rowOf "nix build \\.#checks") (outputs.checks ++ [ "shell-default" ]);
    "docs/nix.md names every kind of output" = builtins.all (kind: has documented "`${kind}[.`]") (
      builtins.attrNames (
        flake.outputs {
          self = null;
          nixpkgs = null;
        }
      )
    );

    "docs/nix.md shows the current files of the template" =
      let
        shown = matches "```nix\n([^`]*)```" documented;
        # The first line of a file describes it; in the document the text does.
        file =
          name:
          builtins.head (
            matches "^# [^\n]*\n(.*)$" (builtins.readFile (../templates/hosts + "/${name}.nix"))
          );
      in
      shown == map file [
        "lab"
        "one"
        "three"
      ];
    "packaging/debian has the hosts of the template, and its firewall has their addresses and ports" =
      let
        ofNixOS = (import ../templates/hosts/lab.nix).services.redis-ha-lab.settings;
        ofDebian = builtins.fromTOML (builtins.readFile ../../packaging/debian/lab.toml);
        topology = import ./topology.nix ofDebian;
        inherit (topology) monitoring;
        rules = builtins.readFile ../../packaging/debian/nftables.conf;
        sorted = builtins.sort builtins.lessThan;
        named =
          pattern: text:
          builtins.concatMap (part: if builtins.isList part then part else [ ]) (builtins.split pattern text);
        ports = builtins.concatStringsSep " " (named "dport ([{][^}]*[}]|[0-9]+)" rules);
        addresses = builtins.head (named "set lab [{][^}]*elements = [{]([^}]*)[}]" rules);
        unique = builtins.foldl' (seen: x: if builtins.elem x seen then seen else seen ++ [ x ]) [ ];
      in
      ofDebian // { lab = { inherit (ofDebian.lab) name; }; } == ofNixOS
      &&
        sorted (map builtins.fromJSON (named "([0-9]+)" ports)) == sorted (
          unique (map (node: node.port) topology.nodes)
          ++ (with monitoring; [
            node_port
            writer_port
            proxy_port
            prometheus_port
            grafana_port
            redis_exporter_port
            cadvisor_port
          ])
        )
      &&
        sorted (named "([0-9.]+)" addresses) == sorted (
          map (node: node.address) topology.nodes
          ++ [
            monitoring.address
            monitoring.writer_address
          ]
        );

    "Prometheus keeps the cgroups of the nodes' units" =
      let
        # Of the rule that keeps series by their cgroup.
        rule = "source_labels: \\[id,[^\n]*\n *regex: ([^\n]*)\n *action: keep";
        keep = builtins.head (matches rule (builtins.readFile ../../prometheus/prometheus.yml));
        kept = unit: builtins.match keep "/system.slice/${unit}.service;" != null;
      in
      builtins.all (node: kept ((unitsOf { }).names.${node.kind} node.name)) shipped.nodes
      && !kept "halab-writer"
      && !kept "halab-data-node@redis-z";

    "a unit gets only the passwords of its users and the certificates that it needs" =
      let
        writer = security: ((unitsOf { inherit security; }).writer { flags = [ ]; }).serviceConfig;
        secured =
          acl: tls: mutual_tls:
          (writer { inherit acl tls mutual_tls; }).LoadCredential;
      in
      secured true false false == [ "writer:/s/writer" ]
      &&
        secured true true false == [
          "writer:/s/writer"
          "ca.pem:/s/ca.pem"
        ]
      &&
        secured false true true == [
          "ca.pem:/s/ca.pem"
          "client.pem:/s/client.pem"
        ]
      && secured false false true == [ ];
    "the proxy gets its password, and with TLS its certificate, unless its clients connect without" =
      let
        loaded =
          proxyTls: security:
          ((unitsOf { inherit security proxyTls; }).proxy { flags = [ ]; }).serviceConfig.LoadCredential;
        tls = {
          tls = true;
        };
      in
      loaded true { } == [ "proxy:/s/proxy" ]
      &&
        loaded true tls == [
          "proxy:/s/proxy"
          "ca.pem:/s/ca.pem"
          "proxy.pem:/s/proxy.pem"
        ]
      &&
        loaded false tls == [
          "proxy:/s/proxy"
          "ca.pem:/s/ca.pem"
        ];
    "a node gets the password of each application, and a writer none" =
      let
        units = unitsOf {
          security = { };
          apps = [ "shop" ];
        };
        has = unit: builtins.elem "app-shop:/s/app-shop" unit.serviceConfig.LoadCredential;
      in
      has units.dataNode && has units.sentinel && !has (units.writer { flags = [ ]; });
    "a unit waits for the unit that makes its secrets, if it has secrets" =
      let
        node =
          acl:
          (unitsOf {
            security = { inherit acl; };
            makers = [ "maker.service" ];
          }).dataNode;
      in
      (node true).requires == [ "maker.service" ]
      && builtins.elem "maker.service" (node true).after
      && (node true).environment.HALAB_SECRETS == "%d"
      && (node false).requires == [ ]
      && !((node false).environment ? HALAB_SECRETS);
    "without a known lab.toml, certificates are optional and passwords are required" =
      let
        config = (unitsOf { security = null; }).sentinel.serviceConfig;
        named = list: map (entry: builtins.head (builtins.split ":" entry)) list;
        loaded = named config.LoadCredential;
      in
      named config.SetCredential == [
        "ca.pem"
        "client.pem"
        "node-%i.pem"
      ]
      && subset (named config.SetCredential) loaded
      && builtins.length loaded == 11;
    "no unit runs a shell and each is hardened" = builtins.all (
      unit:
      let
        config = unit.serviceConfig;
      in
      builtins.match "/p/halab [^;&|$]*" config.ExecStart != null
      && !(config ? ExecStartPre)
      && builtins.all (
        key:
        builtins.elem key [
          "AmbientCapabilities"
          "CapabilityBoundingSet"
          "DynamicUser"
          "MemoryDenyWriteExecute"
          "PrivateUsers"
          "ProtectProc"
          "RestrictAddressFamilies"
        ]
        || config.${key} == hardening.${key}
      ) (builtins.attrNames hardening)
    ) (builtins.attrValues services);
    "only cAdvisor has capabilities and only the maker of secrets runs as root" =
      builtins.attrNames (
        only (unit: unit.serviceConfig.CapabilityBoundingSet != "" || !unit.serviceConfig.PrivateUsers)
      ) == [ "cadvisor" ]
      &&
        builtins.attrNames (only (unit: !(unit.serviceConfig.DynamicUser or false))) == [ "secretsMaker" ];
    "the text of a unit is equal to that of NixOS" =
      import ./unit-text.nix {
        description = "D";
        after = [
          "b.target"
          "a.target"
        ];
        requires = [ ];
        wantedBy = [ "m.target" ];
        environment.X = "%d \"";
        serviceConfig = {
          Z = true;
          A = [
            "1"
            "2"
          ];
          B = 3;
          C = [ ];
        };
      } == ''
        [Unit]
        After=b.target a.target
        Description=D

        [Service]
        Environment="X=%d \""
        A=1
        A=2
        B=3
        Z=true

        [Install]
        WantedBy=m.target
      '';
    "deploy/systemd is compared except for the listed differences between hosts" =
      let
        comparable = import ./units-compared.nix {
          program = "/nix/store/x/bin/halab";
          config = "/nix/store/y";
        };
        text = shippedUnits."halab-data-node@.service";
        here =
          builtins.replaceStrings
            [
              "/usr/bin/halab"
              "/etc/redis-ha-lab/lab.toml"
              "halab-sentinels.target\n"
              "SetCredential=ca.pem:none\n"
            ]
            [
              "/nix/store/x/bin/halab"
              "/nix/store/y"
              "halab-sentinels.target halab-sentinel@s.service halab-data-node@b.service\n"
              "Environment=\"TZDIR=/nix/store/z\"\n"
            ]
            text;
        changed = from: to: comparable (builtins.replaceStrings [ from ] [ to ] here);
      in
      comparable here == comparable text
      && changed "UMask=0077\n" "" != comparable text
      && changed "node %i" "node x" != comparable text
      && changed "network-online.target halab" "halab" != comparable text;

    "the nodes are in the order of the shipped lab.toml" =
      shipped.dataNodeNames == [
        "redis-a"
        "redis-b"
      ]
      &&
        shipped.sentinelNames == [
          "sentinel-1"
          "sentinel-2"
          "sentinel-3"
        ];
    "a node with its kind is found by name" =
      shipped.byName.sentinel-2.kind == "sentinel"
      && shipped.byName.redis-b.kind == "data"
      && shipped.byName.redis-b.address == "127.0.0.12";
    "a missing port has its default" =
      let
        lab = topologyOf ''
          [[data_node]]
          name = "a"
          address = "192.0.2.1"
          [[data_node]]
          name = "b"
          address = "192.0.2.2"
          port = 7000
          [[sentinel]]
          name = "s"
          address = "192.0.2.3"
        '';
      in
      map (n: n.port) lab.nodes == [
        6379
        7000
        26379
      ];
    "without the table monitoring nothing serves metrics" = (topologyOf "").monitoring == null;
    "the ports of the monitoring have defaults" =
      let
        inherit
          (topologyOf ''
            [monitoring]
            address = "192.0.2.9"
            node_port = 9999
          '')
          monitoring
          ;
      in
      monitoring.address == "192.0.2.9"
      && monitoring.node_port == 9999
      && monitoring.grafana_port == 3000;
    "a lab without nodes has none" = (topologyOf "").nodes == [ ];

    "only Nix files and folders with a default.nix are discovered" =
      (discover ./.).topology == ./topology.nix
      && !((discover ../.) ? lib)
      && (discover ../packages).lab == ../packages/lab
      && !((discover ../packages) ? "halab.nix");
    "every VM test has a script" = builtins.all (
      name: builtins.pathExists (../tests + "/${name}/test.py")
    ) (builtins.attrNames (discover ../tests));

    "flake.lock locks exactly the inputs of flake.nix" =
      builtins.attrNames lock.nodes.root.inputs == inputs
      && builtins.attrNames lock.nodes == builtins.sort builtins.lessThan (inputs ++ [ "root" ]);
    "each input is locked to the reference in flake.nix" = builtins.all (
      name: named name != null && originally name == named name
    ) inputs;
    "each input is locked by revision and hash" = builtins.all (
      name:
      let
        pin = (locked name).locked;
      in
      builtins.match "[0-9a-f]{40}" pin.rev != null
      && builtins.match "sha256-[A-Za-z0-9+/]{43}=" pin.narHash != null
      && pin.owner == (locked name).original.owner
      && pin.repo == (locked name).original.repo
    ) inputs;
    "flake.nix has fewer than 100 lines" = lines (builtins.readFile ../../flake.nix) < 100;
  };
in
builtins.filter (claim: !claims.${claim}) (builtins.attrNames claims)
