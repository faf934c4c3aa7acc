# cAdvisor over the containers of a compose project: one series a service. It needs what it reads, read-only:
# -v /sys:/sys:ro -v /var/run/docker.sock:/var/run/docker.sock:ro, and the group that may read the socket.
{
  lib,
  callPackage,
  cadvisor,
  curlMinimal,
}:
callPackage ./lib/image.nix { } {
  name = "cadvisor";
  description = "cAdvisor, for the metrics of the lab's containers";
  entrypoint = [
    (lib.getExe cadvisor)
    "-logtostderr"
    "-port=8080"
    "-housekeeping_interval=1s"
    "-docker_only"
    "-store_container_labels=false"
    "-whitelisted_container_labels=com.docker.compose.service"
    "-disable_metrics=percpu,disk,diskIO"
  ];
  ports = [ 8080 ];
  healthcheck = [
    (lib.getExe curlMinimal)
    "-fsS"
    "http://127.0.0.1:8080/healthz"
  ];
}
