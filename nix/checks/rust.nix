# The program as ./lab test judges it: format, clippy, and all tests, those with real servers too (the build
# sandbox has a loopback network of its own).
{
  callPackage,
  halab,
  clippy,
  rustfmt,
  redis,
  procps,
  curl,
  project,
}:
halab.overrideAttrs (previous: {
  pname = "halab-tests";
  src = project.sources.tests;
  nativeBuildInputs =
    previous.nativeBuildInputs
    ++ [
      clippy
      rustfmt
      redis
      procps
      curl
    ]
    ++ (callPackage ../drill-tools.nix { }).packages;
  buildPhase = ''
    runHook preBuild
    cargo fmt --check
    cargo clippy --all-targets --offline -- -D warnings
    runHook postBuild
  '';
  doCheck = true;
  checkPhase = ''
    runHook preCheck
    cargo test --offline
    runHook postCheck
  '';
  installPhase = "touch $out";
  postInstall = "";
})
