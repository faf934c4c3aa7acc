# Prometheus' scrape_configs for a lab on NixOS, equal to those that `halab monitor prometheus`
# generates from lab.toml. scripts/nix-checks.sh compares both. Pure, without nixpkgs.
{
  settings,
  # The addresses of cAdvisors: "ADDRESS:PORT".
  cadvisors,
}:
let
  topology = import ./topology.nix settings;
  inherit (topology) monitoring nodes dataNodes;
  scheme = if settings.security.tls or false then "rediss" else "redis";
  at = address: port: "${address}:${toString port}";
  target = node: kind: address: {
    targets = [ address ];
    labels = {
      lab = settings.lab.name;
      inherit node kind;
    };
  };
  # A name or an address, escaped for a regular expression.
  escaped = builtins.replaceStrings [ "." ] [ "\\." ];
  # The node's name is the end of a cgroup's path, or a container's label.
  nodeLabels = [
    "id"
    "container_label_redis_ha_lab_node"
  ];
  # Nodes as processes and containers, and as systemd units.
  cgroupsOf =
    nodes:
    let
      any = f: "(${builtins.concatStringsSep "|" (map f nodes)})";
    in
    "(.*/halab/|.*;)${any (node: "${node.name}@${escaped node.address}")};?"
    + "|.*/halab-(data-node|sentinel)@${any (node: node.name)}\\.service;?";

  # Metrics of Redis that no dashboard or rule uses: half of its series.
  redisDropped = "redis_(db_(keys_|avg_).*|config_.*|defrag_.*|tracking_.*|expire.*|io_thread.*|number_of_.*|cluster_.*|commands_latencies_.*|client_recent_.*|lazyfree.*)";
  # Metrics of cAdvisor that the dashboards show.
  containerKept = "container_(cpu_(usage|user|system)_seconds_total|cpu_cfs_throttled_seconds_total|memory_(rss|cache|usage_bytes|working_set_bytes|failcnt)|processes|threads|file_descriptors|sockets|spec_memory_limit_bytes|start_time_seconds)";
in
[
  {
    job_name = "halab-node";
    static_configs = map (
      node: target node.name node.kind (at node.address monitoring.node_port)
    ) nodes;
  }
  {
    # Down when no writer runs; no alert fires for that.
    job_name = "halab-writer";
    static_configs = [
      (target "writer" "writer" (at monitoring.writer_address monitoring.writer_port))
    ];
  }
  {
    # One exporter serves all nodes; a scrape names the node.
    job_name = "redis";
    metrics_path = "/scrape";
    static_configs = map (
      node: target node.name node.kind "${scheme}://${at node.address node.port}"
    ) nodes;
    relabel_configs = [
      {
        source_labels = [ "__address__" ];
        target_label = "__param_target";
      }
      {
        source_labels = [ "__address__" ];
        regex = "${scheme}://(.*)";
        target_label = "instance";
      }
      {
        target_label = "__address__";
        replacement = at monitoring.address monitoring.redis_exporter_port;
      }
    ];
    metric_relabel_configs = [
      {
        source_labels = [ "__name__" ];
        regex = redisDropped;
        action = "drop";
      }
      {
        source_labels = [ "db" ];
        regex = "db[1-9][0-9]*";
        action = "drop";
      }
    ]
    # Series with the address of a node also get its name.
    ++ builtins.concatMap (node: [
      {
        source_labels = [ "slave_ip" ];
        regex = escaped node.address;
        target_label = "replica";
        replacement = node.name;
      }
      {
        source_labels = [ "master_address" ];
        regex = at (escaped node.address) node.port;
        target_label = "primary";
        replacement = node.name;
      }
    ]) dataNodes;
  }
  {
    job_name = "cadvisor";
    honor_timestamps = false;
    static_configs = map (target "cadvisor" "monitoring") cadvisors;
    metric_relabel_configs = [
      {
        source_labels = [ "__name__" ];
        regex = containerKept;
        action = "keep";
      }
      {
        source_labels = nodeLabels;
        regex = cgroupsOf nodes;
        action = "keep";
      }
    ]
    ++ builtins.concatMap (node: [
      {
        source_labels = nodeLabels;
        regex = cgroupsOf [ node ];
        target_label = "node";
        replacement = node.name;
      }
      {
        source_labels = nodeLabels;
        regex = cgroupsOf [ node ];
        target_label = "kind";
        replacement = node.kind;
      }
    ]) nodes
    ++ [
      {
        regex = "id|name|image|container_label_.*";
        action = "labeldrop";
      }
    ];
  }
  {
    job_name = "prometheus";
    static_configs = [
      (target "prometheus" "monitoring" (at monitoring.address monitoring.prometheus_port))
    ];
  }
]
