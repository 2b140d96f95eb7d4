#pragma once

#include <p2pdvm/host/impl/copy_on_write_disk.ipp>
#include <p2pdvm/host/impl/delayed_network.ipp>
