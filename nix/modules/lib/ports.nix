# The options that open ports, of the lab and of each role, and the resulting networking.firewall.
{ config, lib }:
let
  inherit (lib) mkOption types;
  cfg = config.services.redis-ha-lab;
in
rec {
  # Options of the lab: the defaults of the roles.
  optionsOfLab = {
    openFirewall = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Open the ports of the enabled roles in the firewall, on `firewallInterfaces`. Each role can
        override it.
      '';
    };

    firewallInterfaces = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "wg0" ];
      description = ''
        The interfaces on which `openFirewall` opens the ports; an empty list means all. Name the
        interface of the network that the hosts of the lab share: metrics need no authentication,
        and without `settings.security.tls` traffic is not encrypted.
      '';
    };
  };

  options =
    what:
    lib.mapAttrs (
      name: option:
      mkOption {
        inherit (option) type;
        default = cfg.${name};
        defaultText = lib.literalExpression "config.services.redis-ha-lab.${name}";
        description = "Like `services.redis-ha-lab.${name}`, for the ports of ${what}.";
      }
    ) optionsOfLab;

  firewall =
    role: allowedTCPPorts:
    lib.mkIf role.openFirewall (
      if role.firewallInterfaces == [ ] then
        { inherit allowedTCPPorts; }
      else
        {
          interfaces = lib.genAttrs role.firewallInterfaces (_: {
            inherit allowedTCPPorts;
          });
        }
    );
}
