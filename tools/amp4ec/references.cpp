// SPDX-License-Identifier: Apache-2.0
#include "references.hpp"

#include <amp4ec/model/compare.hpp>
#include <amp4ec/model/segment_executor.hpp>

#include <fmt/format.h>

#include <utility>

namespace amp4ec::cli {
namespace {

/// Below this, a comparison passes whatever is computed.
constexpr double smallest_scale = 1e-6;

}  // namespace

Result<References> make_references(const Subject& subject, std::size_t count) {
  const auto inputs = subject.inputs.different(count);
  if (!inputs) return inputs.error();
  References references;
  for (const Values& input : *inputs) {
    auto checked = subject.model.check_inputs(input);
    if (!checked) return checked.error();
    references.inputs.push_back(std::move(*checked));
  }
  if (subject.random_layer()) return references;
  auto executor = subject.model.reference_executor();
  if (!executor) return executor.error();
  for (const Values& input : references.inputs) {
    auto answer = (*executor)->run(input);
    if (!answer) return answer.error();
    if (const double scale = compare(answer->front(), answer->front()).scale; scale < smallest_scale) {
      return Error{Errc::InvalidArgument,
                   fmt::format("outputs near zero (largest magnitude {:.1e}), comparison means nothing; take weights "
                               "that keep activations at a healthy scale, or another --seed",
                               scale)};
    }
    // A copy: an answer may be, or lie in, what the model keeps and changes in the next call.
    references.answers.push_back(answer->front().clone());
  }
  return references;
}

}  // namespace amp4ec::cli
