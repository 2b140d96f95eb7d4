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
