# What gives a unit the passwords and certificates that it needs, and no others: systemd reads the files, and the unit gets
# a folder of its own with them, which is in memory and removed with it. Pure, and without nixpkgs.
{
  # The table [security] of lab.toml. null: it is known only when the unit starts, so the unit names all that the table may
  # ask for.
  security,
  # The folder that has the files on the host.
  folder,
}:
let
  known = security != null;
  said = {
    acl = true;
    tls = !known;
    mutual_tls = !known;
  }
  // (if known then security else { });
  inherit (said) acl tls;
  mutual = tls && said.mutual_tls;
  optional = wanted: value: if wanted then [ value ] else [ ];

  # All of them; a node keeps the hash of each.
  users = [
    "writer"
    "verifier"
    "replication"
    "sentinel"
    "exporter"
    "node"
    "operator"
  ];
  # By whom a server is known, and who is known to it where it asks.
  ofClient = optional tls "ca.pem" ++ optional mutual "client.pem";

  load = passwords: certificates: {
    LoadCredential = map (name: "${name}:${folder}/${name}") (
      (if acl then passwords else [ ]) ++ certificates
    );
    # A file that is missing keeps the unit from its start, unless it has a value here. A lab without TLS has no certificates;
    # one with TLS whose certificate is missing is told so by the program.
    SetCredential = if known then [ ] else map (name: "${name}:none") certificates;
  };
in
{
  used = acl || tls;

  # Of who connects as these users.
  forClient = passwords: load passwords ofClient;
  # Of a node, whose server has a certificate of its own.
  forNode = name: load users (ofClient ++ optional tls "node-${name}.pem");
}
