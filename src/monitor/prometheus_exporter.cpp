// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/monitor/prometheus_exporter.hpp>

#include <utility>

#ifdef AMP4EC_HAS_PROMETHEUS

#include "monitor/loopback_server.hpp"
#include "monitor/metrics.hpp"

#include <amp4ec/monitor/detail/utf8.hpp>

#include <fmt/format.h>
#include <prometheus/text_serializer.h>

#include <exception>
#include <string>
#include <vector>

namespace amp4ec {
namespace {

prometheus::MetricFamily family_of(const detail::Metric& metric) {
  prometheus::MetricFamily family;
  family.name = metric.name;
  family.help = metric.help;
  family.type =
      metric.kind == detail::Metric::Kind::counter ? prometheus::MetricType::Counter : prometheus::MetricType::Gauge;
  return family;
}

void add_values(prometheus::MetricFamily& family, const detail::Metric& metric, const std::vector<Sample>& samples) {
  for (const Sample& sample : samples) {
    const auto value = metric.value(sample);
    if (!value) continue;
    prometheus::ClientMetric& client = family.metric.emplace_back();
    client.label.push_back({"node", detail::valid_utf8(sample.node)});
    for (const auto& label : metric.labels) {
      if (!label.name.empty()) client.label.push_back({std::string(label.name), std::string(label.value)});
    }
    (family.type == prometheus::MetricType::Counter ? client.counter.value : client.gauge.value) = *value;
  }
}

/// Users name their figures as they like: the name is a label's value.
prometheus::MetricFamily user_figures(const std::vector<Sample>& samples) {
  prometheus::MetricFamily family;
  family.name = "amp4ec_node_figure";
  family.help = "Figures that the application added to its nodes.";
  family.type = prometheus::MetricType::Gauge;
  for (const Sample& sample : samples) {
    for (const UserFigure& figure : sample.user) {
      if (!figure.value) continue;
      prometheus::ClientMetric& client = family.metric.emplace_back();
      client.label = {{"node", detail::valid_utf8(sample.node)}, {"figure", detail::valid_utf8(figure.name)}};
      client.gauge.value = *figure.value;
    }
  }
  return family;
}

std::vector<prometheus::MetricFamily> families_of(const std::vector<Sample>& samples) {
  std::vector<prometheus::MetricFamily> families;
  for (const detail::Metric& metric : detail::metrics) {
    if (families.empty() || families.back().name != metric.name) families.push_back(family_of(metric));
    add_values(families.back(), metric, samples);
  }
  families.push_back(user_figures(samples));
  std::erase_if(families, [](const auto& family) { return family.metric.empty(); });
  return families;
}

std::string text_of(const Monitor& monitor) {
  return prometheus::TextSerializer().Serialize(families_of(monitor.latest()));
}

}  // namespace

struct PrometheusEndpoint::State {
  State(const Monitor& monitor, std::uint16_t wanted)
      : server({"/metrics", "text/plain; version=0.0.4; charset=utf-8",
                [&monitor] {
                  try {
                    return text_of(monitor);
                  } catch (...) {
                    return std::string("# no memory for the metrics\n");
                  }
                }},
               wanted) {}

  [[nodiscard]] std::uint16_t port() const noexcept { return server.port(); }

  detail::LoopbackServer server;
};

Result<std::string> PrometheusExporter::text() const try {
  return text_of(*monitor_);
} catch (const std::exception& failure) {
  return Error{Errc::Internal, fmt::format("prometheus-cpp cannot write the metrics: {}", failure.what())};
}

Result<PrometheusEndpoint> PrometheusExporter::listen(std::uint16_t port) const try {
  return PrometheusEndpoint(std::make_unique<PrometheusEndpoint::State>(*monitor_, port));
} catch (const std::exception& failure) {
  return Error{Errc::SystemCall,
               fmt::format("cannot serve metrics at 127.0.0.1:{}: {}; is the port taken? Port 0 takes a free one", port,
                           failure.what())};
}

}  // namespace amp4ec

#else

namespace amp4ec {

struct PrometheusEndpoint::State {
  [[nodiscard]] std::uint16_t port() const noexcept { return 0; }
};

namespace {
Error not_compiled_in() {
  return Error{Errc::NotSupported,
               "metrics for Prometheus are not compiled in; install prometheus-cpp-dev and configure with "
               "AMP4EC_WITH_PROMETHEUS=ON"};
}
}  // namespace

Result<std::string> PrometheusExporter::text() const {
  return not_compiled_in();
}

Result<PrometheusEndpoint> PrometheusExporter::listen(std::uint16_t /*port*/) const {
  return not_compiled_in();
}

}  // namespace amp4ec

#endif

namespace amp4ec {

PrometheusEndpoint::PrometheusEndpoint(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}
PrometheusEndpoint::PrometheusEndpoint(PrometheusEndpoint&& other) noexcept = default;
PrometheusEndpoint& PrometheusEndpoint::operator=(PrometheusEndpoint&& other) noexcept = default;
PrometheusEndpoint::~PrometheusEndpoint() = default;

std::uint16_t PrometheusEndpoint::port() const noexcept {
  return state_->port();
}

}  // namespace amp4ec
