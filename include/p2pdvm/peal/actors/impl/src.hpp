#pragma once

#include <p2pdvm/peal/actors/impl/system.ipp>
