// No program: the Prometheus operator's types (CustomResourceDefinitions), which deploy/kubernetes is held to.
module redis-ha-lab/tools/operator

go 1.26

require github.com/prometheus-operator/prometheus-operator v0.94.1
