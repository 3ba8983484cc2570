/*
Copyright 2026 The pat-operator Authors.

Licensed under the Apache License, Version 2.0 (the "License");
you may not use this file except in compliance with the License.
You may obtain a copy of the License at

    http://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, software
distributed under the License is distributed on an "AS IS" BASIS,
WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
See the License for the specific language governing permissions and
limitations under the License.
*/

package main

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// registerProcess registers what is measured of the process itself.
func registerProcess(ready map[string]healthz.Checker) error {
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "pat_operator_build_info",
		Help:        "1, with the version of the manager and of the Go that compiled it.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	build.Set(1)
	if err := metrics.Registry.Register(build); err != nil {
		return err
	}
	return metrics.Registry.Register(readiness(ready))
}

var readyMetric = prometheus.NewDesc("pat_operator_ready", "1 if a check of /readyz passes, else 0.", []string{"check"}, nil)

// readiness reports each check of /readyz, none of which sends a request.
type readiness map[string]healthz.Checker

// Describe implements prometheus.Collector.
func (readiness) Describe(descs chan<- *prometheus.Desc) { descs <- readyMetric }

// Collect implements prometheus.Collector.
func (r readiness) Collect(samples chan<- prometheus.Metric) {
	for name, check := range r {
		value := 0.0
		if check(nil) == nil {
			value = 1
		}
		samples <- prometheus.MustNewConstMetric(readyMetric, prometheus.GaugeValue, value, name)
	}
}
