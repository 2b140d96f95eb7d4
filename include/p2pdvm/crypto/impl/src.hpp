#pragma once

#include <p2pdvm/crypto/impl/crypto.ipp>
