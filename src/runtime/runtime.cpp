// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/runtime/runtime.hpp>

#include "runtime/profiler.hpp"
#include "runtime/runtime_state.hpp"
#include "runtime/session_state.hpp"

namespace amp4ec {

Result<Runtime> Runtime::create(std::vector<NodeSpec> nodes, RuntimeOptions options) {
  auto state = detail::RuntimeState::create(std::move(nodes), std::move(options));
  if (!state) return state.error();
  return Runtime(std::move(*state));
}

Runtime::Runtime(std::shared_ptr<detail::RuntimeState> state) noexcept : state_(std::move(state)) {}
Runtime::Runtime(Runtime&&) noexcept = default;
Runtime& Runtime::operator=(Runtime&&) noexcept = default;
Runtime::~Runtime() = default;

std::vector<NodeSpec> Runtime::nodes() const {
  return state_->specs();
}
Result<void> Runtime::set_limits(const std::string& node, Cpus cpus, Bytes memory) {
  return state_->set_limits(node, cpus, memory);
}
const Capabilities& Runtime::capabilities() const noexcept {
  return state_->capabilities;
}
Monitor& Runtime::monitor() noexcept {
  return *state_->monitor;
}

Result<Session> Runtime::open(const Model& model, const Plan& plan, const Values& example, SessionOptions options) {
  auto state = detail::open_session(state_, model, plan, example, options);
  if (!state) return state.error();
  return Session(std::move(*state));
}

Result<Profile> Runtime::profile(const Model& model, const Values& example, const ProfileOptions& options) {
  return detail::measure_profile(*state_, model, example, options);
}

Result<std::size_t> Runtime::refine(Profile& profile, const Model& model, const Values& example, const Plan& plan,
                                    const ProfileOptions& options) {
  return detail::refine_profile(*state_, profile, model, example, plan, options);
}

}  // namespace amp4ec
