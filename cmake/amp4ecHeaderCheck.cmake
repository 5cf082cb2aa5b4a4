# SPDX-License-Identifier: Apache-2.0
# Targets that compile every public header alone, twice over: a header must bring what it needs and bear a second
# inclusion. One more file includes all of them, for tools such as clang-tidy. Not part of `all`: build
# amp4ec_header_check. The floors without LibTorch are checked without it.

function(amp4ec_check_headers target)
  cmake_parse_arguments(arg "" "" "FOLDERS;HEADERS;LINK" ${ARGN})
  set(all_headers "${CMAKE_CURRENT_BINARY_DIR}/header_check/${target}_all.cpp")
  set(sources "${all_headers}")
  set(all_includes)
  set(headers ${arg_HEADERS})
  foreach(folder ${arg_FOLDERS})
    file(GLOB_RECURSE found CONFIGURE_DEPENDS RELATIVE "${PROJECT_SOURCE_DIR}/include"
      "${PROJECT_SOURCE_DIR}/include/amp4ec/${folder}/*.hpp")
    list(APPEND headers ${found})
  endforeach()
  foreach(header ${headers})
    set(source "${CMAKE_CURRENT_BINARY_DIR}/header_check/${header}.cpp")
    file(CONFIGURE OUTPUT "${source}" CONTENT "#include <${header}>\n#include <${header}>\n" @ONLY)
    list(APPEND sources "${source}")
    string(APPEND all_includes "#include <${header}>\n")
  endforeach()
  file(CONFIGURE OUTPUT "${all_headers}" CONTENT "${all_includes}" @ONLY)
  add_library(${target} OBJECT EXCLUDE_FROM_ALL ${sources})
  set_target_properties(${target} PROPERTIES UNITY_BUILD OFF) # alone is the point
  target_link_libraries(${target} PRIVATE ${arg_LINK})
  amp4ec_configure_target(${target})
endfunction()

amp4ec_check_headers(amp4ec_header_check_torch_free
  FOLDERS core plan ipc cgroup schedule monitor LINK amp4ec::core)
amp4ec_check_headers(amp4ec_header_check_torch FOLDERS model runtime HEADERS amp4ec/amp4ec.hpp LINK amp4ec::amp4ec)
add_custom_target(amp4ec_header_check)
add_dependencies(amp4ec_header_check amp4ec_header_check_torch_free amp4ec_header_check_torch)
