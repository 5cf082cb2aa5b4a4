// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "subject.hpp"

#include <amp4ec/core/error.hpp>
#include <amp4ec/model/segment_executor.hpp>

#include <cstddef>
#include <functional>
#include <string_view>

namespace amp4ec::cli {

/// The model in two segments.
struct SplitAnswer {
  std::function<Result<Value>(const Values& inputs)> run;
  Form form = Form::Plain;  ///< What both segments are executed in.
};

/// Splits the model after a layer. What it returns keeps what it needs, but for the subject.
using Splitter = std::function<Result<SplitAnswer>(std::size_t after)>;

/// How the answer gets from one segment to the other: "memory" hands values on in this process, "file" saves both
/// segments and loads the files, "process" opens a session of two workers. As in a session, segments are executed in
/// the plain form where the optimised one answers otherwise. The subject must outlive the splitter. @error
/// InvalidArgument for another name.
Result<Splitter> make_splitter(std::string_view through, const Subject& subject, Form form);

}  // namespace amp4ec::cli
