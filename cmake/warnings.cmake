# Warnings for p2pdvm's own code; errors in the development presets.
option(P2PDVM_WARNINGS_AS_ERRORS "Treat warnings as errors" OFF)
add_library(p2pdvm_warnings INTERFACE)
target_compile_options(p2pdvm_warnings INTERFACE -Wall -Wextra -Wshadow -Wpedantic
  -Wnon-virtual-dtor -Woverloaded-virtual -Wcast-align
  # GCC 12 sees Asio's frame allocation inlined, but not its release, and calls them mismatched.
  $<$<CXX_COMPILER_ID:GNU>:-Wno-mismatched-new-delete>
  # At -O3 GCC 12 warns of string concatenations and comparisons with impossible lengths (its bug 105651).
  $<$<AND:$<CXX_COMPILER_ID:GNU>,$<CONFIG:Release>>:-Wno-restrict;-Wno-stringop-overread;-Wno-stringop-overflow>
  $<$<BOOL:${P2PDVM_WARNINGS_AS_ERRORS}>:-Werror>)
