# The options by which ports are opened, of the lab and of each role, and what they come to in networking.firewall.
{ config, lib }:
let
  inherit (lib) mkOption types;
  cfg = config.services.redis-ha-lab;
in
rec {
  # Of the lab: what the roles have where they say nothing else.
  optionsOfLab = {
    openFirewall = mkOption {
      type = types.bool;
      default = false;
      description = "Open the ports of what runs here in the firewall, on `firewallInterfaces`; each role can say otherwise.";
    };

    firewallInterfaces = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "wg0" ];
      description = ''
        The interfaces that `openFirewall` opens the ports on; none: all of them. Name the one that the hosts of the lab
        share: metrics are served to whoever asks, and without `settings.security.tls` nothing that goes over it is encrypted.
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
        description = "As `services.redis-ha-lab.${name}`, for the ports of ${what}.";
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
