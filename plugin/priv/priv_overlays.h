/*
 * priv_overlays.h - is an image the backing file of another one?
 *
 * What is written into a template changes every overlay above it, running or not: such an image is never
 * written.  Only the overlays know; so the header of each file below image_roots is looked at (magic and
 * the backing file's name, nothing else of it is believed).
 */
#pragma once

#include <sys/stat.h>

#include "lib/common/error.h"
#include "plugin/priv/priv_settings.h"

/*
 * ERROR_DENIED, problem "image-backing": an overlay names the file `image`; also when there are too many files, or
 * folders too deep, to know.
 */
int priv_overlays_none(const struct priv_roots *roots, const struct stat *image,
                       struct error *err);
