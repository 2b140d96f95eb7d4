# What all files of a program read is read once for all of them.
option(P2PDVM_PRECOMPILE "Precompile headers for tests, benchmarks and tools" ON)

function(p2pdvm_precompile target)
  if(NOT P2PDVM_PRECOMPILE)
    return()
  endif()
  target_precompile_headers(${target} PRIVATE ${ARGN})
  # With GCC, ccache only keeps what was compiled with a precompiled header when the preprocessor says where that came in.
  if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
    target_compile_options(${target} PRIVATE -fpch-preprocess)
  endif()
endfunction()

# Most of the time that a file takes to compile goes into what its headers bring, each time anew.
set(P2PDVM_TOGETHER "$ENV{P2PDVM_TOGETHER}" CACHE STRING
  "So many files of a program's are compiled as one, where local names allow it: less work to build all, more after a change; empty: each by itself")
mark_as_advanced(P2PDVM_TOGETHER)
function(p2pdvm_compile_together target)
  if(P2PDVM_TOGETHER)
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE ${P2PDVM_TOGETHER})
    target_compile_options(${target} PRIVATE -Wno-error=shadow  # of names in other files
      $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>)  # of names that are local to a file, which is included there
  endif()
endfunction()
