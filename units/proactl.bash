# SPDX-License-Identifier: Apache-2.0
# bash completion for proactl(1)
_proactl() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} verb= i
	local verbs='status check stage apply update reboot why rollback forgive history health audit pause continue limit pin hold unhold config'
	local options='--direct --config --json --help --version'

	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--config | --reason | --to) ((i++)) ;;
		-*) ;;
		*) verb=${COMP_WORDS[i]} && break ;;
		esac
	done
	case $prev in
	--config)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	--reason) return ;;
	--to)
		mapfile -t COMPREPLY < <(compgen -W "$(proactl status --json 2>/dev/null |
			sed -n '/"slots"/,/\]/s/.*"version": "\([^"]*\)".*/\1/p')" -- "$cur")
		return
		;;
	esac
	case $verb in
	'') [[ $cur == -* ]] || options=$verbs ;;
	status) options+=' --watch' ;;
	stage) options+=' --dry-run --any-size' ;;
	update) options+=' --reboot --unattended --any-size --watch' ;;
	reboot) options+=' --force --unattended' ;;
	limit) [[ $cur == -* ]] || options=off ;;
	rollback) options+=' --to --reason' ;;
	hold) options+=' --reason' ;;
	pin)
		options+=' --none'
		[[ $cur == -* ]] || options=$(proactl status --json 2>/dev/null |
			sed -n 's/.*"\(version\|newest\)": "\([^"]*\)".*/\2/p' | sort -u)
		;;
	config) [[ $cur == -* ]] || options='check show' ;;
	audit) options='--next --pcr --deep --all --json --repository --attest --nonce --challenge --tpm --root --esp --disk
		--state --time --help' ;;
	forgive)
		[[ $cur == -* ]] ||
			options=$(proactl status --json 2>/dev/null |
				sed -n '/"failed"/,/\]/s/.*"version": "\([^"]*\)".*/\1/p')
		;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
}
complete -F _proactl proactl
