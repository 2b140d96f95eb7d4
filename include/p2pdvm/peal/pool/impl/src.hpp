#pragma once

#include <p2pdvm/peal/pool/impl/bag.ipp>
#include <p2pdvm/peal/pool/impl/scheduler.ipp>
