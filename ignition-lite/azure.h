/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IGNITION_LITE_AZURE_H
#define IGNITION_LITE_AZURE_H

#include "base/buf.h"
#include "base/err.h"
#include "ignition-lite/load.h"

/*
 * The instance metadata service of Azure: user data, base64 in text form. It is asked without
 * proxy, and asked again while it is not ready. *ret stays empty when there is none.
 */
#define IGN_IMDS "http://169.254.169.254"
int ign_azure_imds(const char *imds, const struct ign_load *l, struct buf *ret, struct err *e)
	__attribute__((warn_unused_result));

/*
 * CustomData.bin of the provisioning CD-ROM, which has ovf-env.xml beside it. Mounted read-only in
 * a private place for the reading. host: as in struct ign_source; below a host that is not "" the
 * directory <host>/media/cdrom is taken for it. *ret stays empty when there is none.
 */
int ign_azure_cdrom(const char *host, struct buf *ret, struct err *e)
	__attribute__((warn_unused_result));

#endif
