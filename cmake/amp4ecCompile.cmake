# SPDX-License-Identifier: Apache-2.0
# What every target of the project shares: the standard, the warnings, the sanitizers. Never set globally.

# Programs side by side, where hosts look for their worker; a project that embeds us chooses the place.
if(NOT CMAKE_RUNTIME_OUTPUT_DIRECTORY)
  set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}")
endif()

function(amp4ec_configure_target target)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF POSITION_INDEPENDENT_CODE ON)
  target_compile_features(${target} PUBLIC cxx_std_20)
  # In a large file made of several, the names of one are no business of its neighbours: no -Wshadow there.
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic
    $<$<NOT:$<BOOL:$<TARGET_PROPERTY:UNITY_BUILD>>>:-Wshadow> -Wnon-virtual-dtor -Wold-style-cast
    $<$<BOOL:${AMP4EC_WARNINGS_AS_ERRORS}>:-Werror>)
  if(AMP4EC_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${AMP4EC_SANITIZE} -fno-omit-frame-pointer
      -fno-sanitize-recover=undefined
      -fno-sanitize=vptr # needs type information that LibTorch does not export
      -Wno-maybe-uninitialized)  # instrumented code sends g++ on false trails
    target_link_options(${target} PUBLIC -fsanitize=${AMP4EC_SANITIZE})
  endif()
endfunction()
