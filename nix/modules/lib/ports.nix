# The options by which a role opens its ports, and what they come to in networking.firewall.
{ lib }:
let
  inherit (lib) mkOption types;
in
{
  options = what: {
    openFirewall = mkOption {
      type = types.bool;
      default = false;
      description = "Open the ports of ${what} in the firewall, on `firewallInterfaces`.";
    };

    firewallInterfaces = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "wg0" ];
      description = ''
        The interfaces that `openFirewall` opens the ports on; none: all of them. Name the one that the hosts of the lab
        share: what goes over it is not encrypted.
      '';
    };
  };

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
