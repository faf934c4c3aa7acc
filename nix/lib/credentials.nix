# systemd settings that give a unit only the passwords and certificates it needs: systemd reads the
# files and gives the unit a private folder in memory, which is removed with the unit. Pure, without
# nixpkgs.
{
  # The table [security] of lab.toml. null: it is unknown until the unit starts, so the unit lists
  # all files that the table may require.
  security,
  # Whether clients of the proxy connect by TLS, in a lab with TLS.
  proxyTls ? true,
  # The names of the applications of lab.toml; where it is unknown, each host adds theirs by a
  # drop-in.
  apps ? [ ],
  # The folder with the files on the host.
  folder,
}:
let
  known = security != null;
  given = {
    acl = true;
    tls = !known;
    mutual_tls = !known;
  }
  // (if known then security else { });
  inherit (given) acl tls;
  mutual = tls && given.mutual_tls;
  optional = wanted: value: if wanted then [ value ] else [ ];

  # All users; a node has the password hash of each.
  users = parts ++ map (name: "app-${name}") apps;
  parts = [
    "writer"
    "proxy"
    "verifier"
    "replication"
    "sentinel"
    "exporter"
    "node"
    "operator"
  ];
  # The CA of servers; with mutual TLS also the client's certificate.
  ofClient = optional tls "ca.pem" ++ optional mutual "client.pem";

  load = passwords: certificates: {
    LoadCredential = map (name: "${name}:${folder}/${name}") (
      (if acl then passwords else [ ]) ++ certificates
    );
    # A missing file prevents the start of the unit unless it has a default here. A lab without TLS
    # has no certificates; with TLS the program reports a missing one.
    SetCredential = if known then [ ] else map (name: "${name}:none") certificates;
  };
in
{
  used = acl || tls;

  # For a client that uses these users.
  forClient = passwords: load passwords ofClient;
  # For the proxy, which shows its clients a certificate of its own.
  forProxy = load [ "proxy" ] (ofClient ++ optional (tls && proxyTls) "proxy.pem");
  # For a node, whose server has its own certificate.
  forNode = name: load users (ofClient ++ optional tls "node-${name}.pem");
}
