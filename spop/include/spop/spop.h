/* The whole of the library for somebody else's agent; inside this house include what is named. */
#ifndef SPOP_SPOP_H
#define SPOP_SPOP_H

#include "spop/ack.h"
#include "spop/client.h"
#include "spop/disconnect.h"
#include "spop/error.h"
#include "spop/frame.h"
#include "spop/hello.h"
#include "spop/notify.h"
#include "spop/session.h"
#include "spop/value.h"
#include "spop/view.h"

#endif
