/* C. cc check.c $(pkg-config --cflags --libs libvirtid-verify). VIRTID_CA names the issuer's CA; the token comes on stdin. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <virtid-verify.h>

int
main(void)
{
    struct virtid_options options = VIRTID_OPTIONS(getenv("VIRTID_ISSUER"), getenv("VIRTID_AUDIENCE"));
    struct virtid_verifier *verifier = NULL; /* make one and keep it: it keeps the key set */
    struct virtid_identity *vm = NULL;
    struct virtid_error error;
    enum virtid_result result;
    char token[4098];

    options.ca_file = getenv("VIRTID_CA");
    if (!fgets(token, sizeof token, stdin))
        return 2;
    result = virtid_verifier_new(&options, &verifier, &error);
    if (result == VIRTID_VALID)
        result = virtid_verify(verifier, token, strcspn(token, "\n"), &vm, &error);
    if (result == VIRTID_VALID)
        puts(virtid_identity_subject(vm));
    else
        fprintf(stderr, "%s: %s\n", virtid_result_name(result), error.text);
    virtid_identity_free(vm);
    virtid_verifier_free(verifier);
    return result == VIRTID_VALID ? 0 : 1;
}
