// The precompiled header of tests without Torch.
#pragma once

#include "common/base/base_pch.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
