/// What is measured of an MPI library; see main.cpp.
#pragma once

void measure_messaging(bool quick);
void measure_supersteps(bool quick);
