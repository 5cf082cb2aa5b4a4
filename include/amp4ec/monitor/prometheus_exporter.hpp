// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>
#include <amp4ec/monitor/monitor.hpp>

#include <cstdint>
#include <memory>
#include <string>

namespace amp4ec {

/// Answers HTTP GET /metrics at 127.0.0.1 on a thread of its own, until it goes. Move-only. Compiled: part of
/// `amp4ec::amp4ec`.
class PrometheusEndpoint {
 public:
  PrometheusEndpoint(PrometheusEndpoint&& other) noexcept;
  PrometheusEndpoint& operator=(PrometheusEndpoint&& other) noexcept;
  ~PrometheusEndpoint();

  /// Where it listens; the one that the kernel chose, if any was asked for.
  [[nodiscard]] std::uint16_t port() const noexcept;

 private:
  friend class PrometheusExporter;
  struct State;
  explicit PrometheusEndpoint(std::unique_ptr<State> state) noexcept;
  std::unique_ptr<State> state_;
};

/// Shows the last sample of every node of a Monitor to Prometheus: metrics "amp4ec_node_...", label node="NAME", base
/// units (seconds, bytes, ratios). What a sample does not know is left out, not zero. Reads what the Monitor has
/// sampled, and causes no sampling. A bad byte in a node's name is replaced, so that the text is always UTF-8.
///
/// Needs prometheus-cpp: without it, everything here is NotSupported. Compiled: part of `amp4ec::amp4ec`.
/// Thread-safety: any thread, at once. The Monitor must outlive the exporter and its endpoints.
class PrometheusExporter {
 public:
  explicit PrometheusExporter(const Monitor& monitor) noexcept : monitor_(&monitor) {}

  /// Prometheus' text format 0.0.4. @error NotSupported.
  [[nodiscard]] Result<std::string> text() const;

  /// Serves the text to this machine alone. Port 0: any free one, see `PrometheusEndpoint::port`. Signals of the host
  /// are not handled on the endpoint's thread.
  /// @error NotSupported; SystemCall when the port is taken or threads or descriptors run out.
  [[nodiscard]] Result<PrometheusEndpoint> listen(std::uint16_t port = 0) const;

 private:
  const Monitor* monitor_;
};

}  // namespace amp4ec
