// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/model/segment_executor.hpp>

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace amp4ec::detail {

/// An executor for an archive that stays: weights are used where they lie, in the memory that `owner` keeps; copies of
/// them are only held by the forms that reorder them. This process must be able to write there; state alone is written.
/// `chosen`: what `chosen_form` has said of an executor of this archive, to save the search; may be empty.
Result<std::unique_ptr<SegmentExecutor>> make_executor_in_place(std::span<std::byte> archive,
                                                                std::shared_ptr<const void> owner, std::size_t outputs,
                                                                Form form, std::string_view chosen);

/// The name of the form that was found to be the fastest; empty where none was searched for, or not yet.
std::string chosen_form(const SegmentExecutor& executor);

}  // namespace amp4ec::detail
