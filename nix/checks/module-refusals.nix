# Settings of the NixOS module that must fail, each with the part of the message that names the
# remedy. The evaluation checks them; the build only lists them.
{
  lib,
  runCommand,
  nixpkgs,
  project,
  self,
  stdenv,
}:
let
  failures =
    module:
    let
      host = nixpkgs.lib.nixosSystem {
        modules = [
          self.nixosModules.default
          module
          {
            nixpkgs.hostPlatform = stdenv.hostPlatform.system;
            networking.hostName = "redis-a";
            services.redis-ha-lab.settings = lib.mkDefault project.settings;
            fileSystems."/".device = "none";
            boot.loader.grub.enable = false;
            system.stateVersion = "26.05";
          }
        ];
      };
    in
    map (a: a.message) (lib.filter (a: !a.assertion) host.config.assertions);

  allData = {
    enable = true;
    names = project.topology.dataNodeNames;
  };
  allSentinels = {
    enable = true;
    names = project.topology.sentinelNames;
  };

  # The shipped lab with addresses outside of loopback.
  far =
    let
      away = map (node: node // { address = "192.0.2" + lib.removePrefix "127.0.0" node.address; });
    in
    project.settings
    // {
      data_node = away project.settings.data_node;
      sentinel = away project.settings.sentinel;
    };

  cases = {
    "a whole lab on one host builds" = {
      module.services.redis-ha-lab = {
        dataNode = allData;
        sentinel = allSentinels;
      };
      says = null;
    };
    "a host that imports the module and runs nothing builds" = {
      module = { };
      says = null;
    };
    "a name that is not in settings" = {
      module.services.redis-ha-lab = {
        dataNode = allData // {
          names = [ "redis-c" ];
        };
        sentinel = allSentinels;
      };
      says = "Name one of these, or add \"redis-c\" to settings";
    };
    "a Sentinel as a data node" = {
      module.services.redis-ha-lab = {
        dataNode = allData // {
          names = [ "sentinel-1" ];
        };
        sentinel = allSentinels;
      };
      says = "which is no node of this kind in settings: redis-a, redis-b";
    };
    "loopback addresses on several hosts" = {
      module.services.redis-ha-lab.dataNode.enable = true;
      says = "Give each node the address of its host";
    };
    "several hosts without shared passwords" = {
      module.services.redis-ha-lab = {
        settings = far;
        dataNode.enable = true;
      };
      says = "name that folder in services.redis-ha-lab.secretsFolder";
    };
    "several hosts with shared passwords builds" = {
      module.services.redis-ha-lab = {
        settings = far;
        dataNode.enable = true;
        secretsFolder = "/etc/secrets/redis-ha-lab";
      };
      says = null;
    };
    "TLS on several hosts without shared certificates" = {
      module.services.redis-ha-lab = {
        settings = far // {
          security = {
            acl = false;
            tls = true;
          };
        };
        dataNode.enable = true;
      };
      says = "which need the same passwords and certificates";
    };
    "a name twice" = {
      module.services.redis-ha-lab = {
        dataNode = allData // {
          names = project.topology.dataNodeNames ++ [ "redis-a" ];
        };
        sentinel = allSentinels;
      };
      says = "a name occurs twice";
    };
  };

  wrong = lib.filterAttrs (
    _: case:
    let
      messages = failures case.module;
    in
    if case.says == null then messages != [ ] else !lib.any (lib.hasInfix case.says) messages
  ) cases;
in
assert lib.assertMsg (
  wrong == { }
) "module-refusals: these cases fail: ${lib.concatStringsSep "; " (lib.attrNames wrong)}";
runCommand "module-refusals" { } ''
  printf '%s\n' ${lib.escapeShellArgs (lib.attrNames cases)} >$out
''
