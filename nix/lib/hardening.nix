# Restrictions of all units: a Redis server, a Sentinel and the writer only need their own state
# folder and TCP over IPv4. docs/nix.md has the results of `systemd-analyze security`.
{
  # A user that exists while the unit runs; systemd gives it the state folder at each start.
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
  # No server compiles at run time: Redis' Lua is an interpreter.
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
  # A refused call is an error, which the servers log, and does not kill the process.
  SystemCallErrorNumber = "EPERM";

  # A core dump would contain passwords and keys. 1 byte, as the program itself sets
  # (src/signals.rs): a kernel that pipes dumps to a program ignores a limit of 0.
  LimitCORE = 1;
}
