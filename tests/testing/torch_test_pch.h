// The precompiled header of tests with Torch.
#pragma once

#include "common/tensor/torch_pch.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
