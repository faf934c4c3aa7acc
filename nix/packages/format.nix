# `nix fmt`: formats the Nix and Rust files of the project, or reports unformatted ones (--check).
{
  writeShellApplication,
  cargo,
  rustfmt,
  git,
  callPackage,
}:
writeShellApplication {
  name = "format";
  runtimeInputs = [
    cargo
    rustfmt
    git
  ]
  ++ (callPackage ../style-tools.nix { }).packages;
  text = ''
    case "''${1-}" in
    --check) flag=--check ;;
    *) flag= ;;
    esac
    # `nix fmt` runs it in the current folder and may name files; it always formats the whole
    # project.
    root=$(git rev-parse --show-toplevel 2>/dev/null) || root=$PWD
    cd "$root"
    find . -name '*.nix' -not -path './target/*' -not -path './.lab/*' -print0 | xargs -0 nixfmt ''${flag:+"$flag"}
    cargo fmt --all ''${flag:+"$flag"}
  '';
  meta.description = "Formats the project's Nix and Rust files";
}
