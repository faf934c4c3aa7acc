# What no unit of this module needs, taken away: a Redis server, a Sentinel and the writer read and write their
# own state folder, and speak TCP over IPv4. docs/nix.md states what `systemd-analyze security` makes of it.
{
  # A user of its own for as long as the unit runs; the state folder is handed to it at each start.
  DynamicUser = true;
  UMask = "0077";

  # Files.
  ProtectSystem = "strict";
  ProtectHome = true;
  PrivateTmp = true;
  PrivateDevices = true;
  DevicePolicy = "closed";
  PrivateMounts = true;
  RemoveIPC = true;

  # The kernel.
  ProtectClock = true;
  ProtectControlGroups = true;
  ProtectHostname = true;
  ProtectKernelLogs = true;
  ProtectKernelModules = true;
  ProtectKernelTunables = true;

  # Other processes.
  PrivateUsers = true;
  ProtectProc = "invisible";
  KeyringMode = "private";

  # Privileges.
  AmbientCapabilities = "";
  CapabilityBoundingSet = "";
  LockPersonality = true;
  # Neither server compiles at run time: Redis' Lua is an interpreter.
  MemoryDenyWriteExecute = true;
  NoNewPrivileges = true;
  RestrictNamespaces = true;
  RestrictRealtime = true;
  RestrictSUIDSGID = true;

  # System calls and sockets.
  RestrictAddressFamilies = [ "AF_INET" ];
  SystemCallArchitectures = "native";
  SystemCallFilter = [
    "@system-service"
    "~@privileged @resources"
  ];
  # A call that is refused is an error, which the servers log, and not the end of the process.
  SystemCallErrorNumber = "EPERM";

  # What a core dump would hold: passwords and keys. The program asks for the same, but may not, by the filter above.
  LimitCORE = 0;
}
